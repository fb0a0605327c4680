#include "line_reader.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>
#include <vector>

namespace streambus::command {
namespace {

struct Pipe {
  Pipe() { EXPECT_EQ(pipe(ends), 0); }
  ~Pipe() {
    close(ends[0]);
    close_writer();
  }
  void close_writer() {
    if (ends[1] >= 0) close(std::exchange(ends[1], -1));
  }
  int ends[2];
};

std::vector<std::string> read_all(const std::string& input) {
  Pipe pipe;
  std::thread writer([&] {
    std::size_t done = 0;
    while (done < input.size()) done += static_cast<std::size_t>(write(pipe.ends[1], input.data() + done, input.size() - done));
    pipe.close_writer();
  });
  std::vector<std::string> lines;
  LineReader reader(pipe.ends[0], -1);
  for (;;) {
    const auto line = reader.next();
    EXPECT_TRUE(line);
    if (!line || !*line) break;
    lines.emplace_back(**line);
  }
  writer.join();
  return lines;
}

TEST(LineReaderTest, KeepsBytesAndTheLastLine) {
  using Lines = std::vector<std::string>;
  EXPECT_EQ(read_all(""), Lines{});
  EXPECT_EQ(read_all("\n"), Lines{""});
  EXPECT_EQ(read_all("a\n\nb"), (Lines{"a", "", "b"}));
  EXPECT_EQ(read_all(std::string("x\0\r\n\xff\n", 6)), (Lines{std::string("x\0\r", 3), "\xff"}));
}

TEST(LineReaderTest, ReadsLinesLongerThanItsBuffer) {
  const std::string line(5'000'000, 'l');
  const auto lines = read_all("short\n" + line + "\n" + line);
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_EQ(lines[1], line);
  EXPECT_EQ(lines[2], line);
}

TEST(LineReaderTest, AnInterruptEndsTheWait) {
  Pipe input;
  Pipe interrupt;
  ASSERT_EQ(write(input.ends[1], "a\nhalf", 6), 6);
  LineReader reader(input.ends[0], interrupt.ends[0]);
  EXPECT_EQ(**reader.next(), "a");
  ASSERT_EQ(write(interrupt.ends[1], "", 1), 1);
  const auto line = reader.next();
  ASSERT_TRUE(line);
  EXPECT_FALSE(*line) << "half a line is no record";
}

}  // namespace
}  // namespace streambus::command
