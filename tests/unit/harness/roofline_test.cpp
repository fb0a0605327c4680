#include "streambus/harness/roofline.hpp"

#include <gtest/gtest.h>

#include <filesystem>

namespace streambus::harness {
namespace {

TEST(Roofline, MeasuresWhatTheMachineAllows) {
  const auto directory = std::filesystem::temp_directory_path();
  const auto stream = loopback_stream_bytes_per_s(8 << 20, 64 << 10);
  ASSERT_TRUE(stream.has_value()) << stream.error().message;
  EXPECT_GT(*stream, 0);
  const auto ping = loopback_ping_pong_ns(128, 50);
  ASSERT_TRUE(ping.has_value()) << ping.error().message;
  EXPECT_GT(*ping, 0);
  const auto write = file_write_bytes_per_s(directory, 8 << 20, 1 << 20);
  ASSERT_TRUE(write.has_value()) << write.error().message;
  EXPECT_GT(*write, 0);
  const auto sync = fdatasync_ns(directory, 5);
  ASSERT_TRUE(sync.has_value()) << sync.error().message;
  EXPECT_GT(*sync, 0);
  EXPECT_GT(memcpy_bytes_per_s(1 << 20, 4), 0);
}

TEST(Roofline, SaysWhichDirectoryCannotBeWritten) {
  const auto outcome = file_write_bytes_per_s("/nonexistent-directory", 1, 1);
  ASSERT_FALSE(outcome.has_value());
  EXPECT_NE(outcome.error().message.find("/nonexistent-directory"), std::string::npos) << outcome.error().message;
}

}  // namespace
}  // namespace streambus::harness
