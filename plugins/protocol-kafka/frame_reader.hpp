#pragma once

#include <cstdint>

#include "streambus/base/buffer.hpp"
#include "streambus/base/bytes.hpp"

namespace streambus::protocol_kafka {

/// Collects the bytes of one connection and cuts them into frames (a big-endian int32 length, then that many bytes).
///
/// Memory: none while idle. A buffer is borrowed when bytes are about to arrive: 4 KiB at first, larger ones for a connection
/// that has sent larger frames. A frame that does not fit gets a buffer of its own size; what came of it already is copied
/// once. Beyond what the connection has proven to send, buffers grow only as bytes arrive, so that a length followed by silence
/// holds at most four times what was sent, or 64 KiB.
///
/// One thread at a time; does not block.
class FrameReader {
 public:
  static constexpr std::size_t kSmallBytes = std::size_t{4} << 10;
  static constexpr std::size_t kMediumBytes = std::size_t{64} << 10;
  static constexpr std::size_t kLargeBytes = std::size_t{1} << 20;
  /// No request other than Produce is larger than this: thousands of topics fit.
  static constexpr std::size_t kPlainFrameBytesMax = std::size_t{4} << 20;

  FrameReader(BufferSource& source, std::uint64_t frame_bytes_max) noexcept
      : source_(&source), frame_bytes_max_(frame_bytes_max) {}

  /// Where the next bytes go. Empty: no buffer can be had now, try again later.
  [[nodiscard]] MutableBytes space() noexcept;
  /// `bytes` were put at the start of what space() returned.
  void received(std::size_t bytes) noexcept;

  enum class Outcome : std::uint8_t { frame, need_more, bad };
  /// The next whole frame, without its length; valid until the next space() or rest(). After `bad`, see problem().
  [[nodiscard]] Outcome next(MutableBytes* frame) noexcept;
  /// True when next() would not ask for more.
  [[nodiscard]] bool has_frame() const noexcept;
  /// What is wrong with the stream, for the log; static text.
  [[nodiscard]] const char* problem() const noexcept { return problem_; }
  [[nodiscard]] std::int32_t bad_length() const noexcept { return bad_length_; }

  /// One more reference to the memory that the last frame lies in. Nothing of it is overwritten while it is held.
  [[nodiscard]] BufferRef share() const noexcept { return buffer_; }

  /// Gives the buffer back when no byte waits in it.
  void rest() noexcept;
  /// Forgets everything.
  void clear() noexcept;

  /// Memory borrowed now.
  [[nodiscard]] std::size_t held_bytes() const noexcept { return buffer_ ? buffer_->capacity() : 0; }

 private:
  [[nodiscard]] std::size_t waiting() const noexcept { return end_ - begin_; }
  [[nodiscard]] bool length_known() const noexcept { return waiting() >= sizeof(std::int32_t); }
  [[nodiscard]] std::int32_t length() const noexcept;
  /// Checks the length, and the kind of request once it can be seen. Null when fine.
  [[nodiscard]] const char* complaint() const noexcept;
  [[nodiscard]] bool move_to(std::size_t capacity) noexcept;
  void learn(std::size_t frame_bytes) noexcept;

  BufferSource* source_;
  std::uint64_t frame_bytes_max_;
  BufferRef buffer_;
  std::size_t begin_ = 0;                  ///< of the first byte not handed out
  std::size_t end_ = 0;                    ///< behind the last byte received
  std::size_t usual_bytes_ = kSmallBytes;  ///< size of the next fresh buffer
  unsigned small_rounds_ = 0;              ///< buffers in a row that a smaller size would have held
  std::size_t round_bytes_ = 0;            ///< largest frame or receive in this buffer
  std::size_t offered_ = 0;                ///< bytes of the span handed out last
  const char* problem_ = nullptr;
  std::int32_t bad_length_ = 0;
};

}  // namespace streambus::protocol_kafka
