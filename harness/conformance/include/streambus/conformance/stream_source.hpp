#pragma once

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "streambus/base/pin.hpp"
#include "streambus/base/slice.hpp"
#include "test_session.hpp"

namespace streambus::conformance {

/// A reference count that a test can look at.
class CountedPin final : public Pin {
 public:
  CountedPin() = default;
  [[nodiscard]] bool only_mine() const noexcept { return unique(); }

 private:
  void dispose() noexcept override {}
};

/// A file that is gone with the object.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string_view contents) {
    char path[] = "/tmp/streambus-transport-XXXXXX";
    fd_ = ::mkstemp(path);
    if (fd_ < 0) std::abort();
    ::unlink(path);
    if (::write(fd_, contents.data(), contents.size()) != static_cast<ssize_t>(contents.size())) std::abort();
  }
  ~TemporaryFile() { ::close(fd_); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  [[nodiscard]] int fd() const noexcept { return fd_; }

 private:
  int fd_;
};

/// A stream whose byte at each position is known: random bytes repeated with a period that no buffer size divides.
class KnownStream {
 public:
  static constexpr std::size_t kPeriod = 65521;

  KnownStream() {
    std::mt19937_64 random(42);
    text_.resize(kPeriod);
    for (char& byte : text_) byte = static_cast<char>(random());
    text_ += text_;  // any piece up to a period long is one run
  }
  [[nodiscard]] std::string_view piece(std::uint64_t position, std::size_t bytes) const {
    return std::string_view(text_).substr(position % kPeriod, bytes);
  }
  [[nodiscard]] bool matches(std::uint64_t position, Bytes bytes) const {
    while (!bytes.empty()) {
      const std::size_t run = std::min(bytes.size(), kPeriod);
      if (as_text(bytes.first(run)) != piece(position, run)) return false;
      bytes = bytes.subspan(run);
      position += run;
    }
    return true;
  }
  [[nodiscard]] const std::string& text() const noexcept { return text_; }

 private:
  static std::string_view as_text(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
  std::string text_;
};

/// Writes a KnownStream of `total` bytes from a session's callbacks, as random memory and file slices, a bounded part ahead.
class StreamWriter {
 public:
  static constexpr std::uint64_t kAheadMax = 1 << 20;

  StreamWriter(const KnownStream& stream, const TemporaryFile& file, std::uint64_t total, unsigned seed)
      : stream_(stream), file_(file), total_(total), random_(seed) {}

  /// Call in opened() and writable().
  void go_on(TestSession& session) {
    while (written_ < total_ && session.connection->queued_bytes() < kAheadMax) write_some(session);
  }
  [[nodiscard]] bool done() const noexcept { return written_ == total_; }
  [[nodiscard]] bool released() const noexcept { return pin_.only_mine(); }

 private:
  void write_some(TestSession& session) {
    // Now and then more slices in one write than any system call takes.
    const std::size_t count = random_() % 50 == 0 ? 3000 : 1 + random_() % 8;
    const std::size_t bytes_max = count > 8 ? 16 : 60000;
    slices_.clear();
    for (std::size_t i = 0; i < count && written_ < total_; ++i) {
      const std::size_t bytes = std::min<std::uint64_t>(random_() % bytes_max, total_ - written_);
      if (random_() % 3 == 0) {
        slices_.push_back(Slice::file(file_.fd(), written_ % KnownStream::kPeriod, bytes));
      } else {
        slices_.push_back(Slice::memory(std::as_bytes(std::span(stream_.piece(written_, bytes)))));
      }
      written_ += bytes;
    }
    session.connection->write(slices_, &pin_);
  }

  const KnownStream& stream_;
  const TemporaryFile& file_;
  const std::uint64_t total_;
  std::uint64_t written_ = 0;
  std::mt19937 random_;
  std::vector<Slice> slices_;
  CountedPin pin_;
};

}  // namespace streambus::conformance

namespace streambus::test {
using namespace streambus::conformance;  // unit tests name their doubles here
}  // namespace streambus::test
