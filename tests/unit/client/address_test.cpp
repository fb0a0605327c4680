#include "address.hpp"

#include <gtest/gtest.h>

namespace streambus::client {
namespace {

TEST(AddressTest, TellsHostAndPortFromATransportsName) {
  EXPECT_EQ(*parse_address("127.0.0.1:9092"), (Address{"tcp", "127.0.0.1:9092"}));
  EXPECT_EQ(*parse_address("localhost:9092"), (Address{"tcp", "localhost:9092"}));
  EXPECT_EQ(*parse_address("[::1]:9092"), (Address{"tcp", "[::1]:9092"}));
  EXPECT_EQ(*parse_address("inproc:main"), (Address{"inproc", "main"}));
  EXPECT_EQ(*parse_address("unix:/run/broker.sock"), (Address{"unix", "/run/broker.sock"}));
  EXPECT_EQ(parse_address("inproc:main")->text(), "inproc:main");
}

TEST(AddressTest, SaysWhatIsWrong) {
  for (const char* text :
       {"", "localhost", ":9092", "host:", "host:0", "host:65536", "1.2.3.4:port", "::1:9092", "[::1:9092"}) {
    const auto parsed = parse_address(text);
    ASSERT_FALSE(parsed) << text << " became " << parsed->text();
    EXPECT_EQ(parsed.error().code, ErrorCode::invalid_argument) << text;
    EXPECT_NE(parsed.error().message.find("127.0.0.1:9092"), std::string::npos)
        << "an example helps: " << parsed.error().message;
  }
}

TEST(AddressTest, ReadsLists) {
  const auto list = parse_bootstrap("a.example:1,b.example:2");
  ASSERT_TRUE(list);
  EXPECT_EQ(list->size(), 2U);
  EXPECT_FALSE(parse_bootstrap(""));
  EXPECT_FALSE(parse_bootstrap("a.example:1,inproc:x"));
  EXPECT_EQ(join_host_port("::1", 9092), "[::1]:9092");
  EXPECT_EQ(join_host_port("host", 9092), "host:9092");
}

}  // namespace
}  // namespace streambus::client
