// The parts that the transports share, against simple models.

#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <map>
#include <random>
#include <string>

#include "stream_source.hpp"
#include "transport-common/deadline_queue.hpp"
#include "transport-common/slice_queue.hpp"

namespace streambus::test {
namespace {

using transport_common::DeadlineQueue;
using transport_common::kNever;
using transport_common::SliceQueue;

struct Item final : DeadlineQueue::Item {};

TEST(DeadlineQueueTest, AgreesWithASortedMapUnderRandomChanges) {
  std::mt19937 random(7);
  std::array<Item, 50> items;
  std::map<Item*, std::int64_t> model;
  DeadlineQueue queue;
  for (int step = 0; step < 20000; ++step) {
    Item& item = items[random() % items.size()];
    if (random() % 4 == 0) {
      queue.remove(item);
      model.erase(&item);
    } else {
      const std::int64_t at = random() % 100 == 0 ? kNever : static_cast<std::int64_t>(random() % 1000);
      queue.schedule(item, at);
      model.erase(&item);
      if (at != kNever) model[&item] = at;
    }
    std::int64_t earliest = kNever;
    for (const auto& [member, at] : model) earliest = std::min(earliest, at);
    ASSERT_EQ(queue.earliest(), earliest);
    ASSERT_EQ(queue.empty(), model.empty());
    if (!queue.empty()) {
      ASSERT_EQ(queue.top().scheduled_at(), earliest);
    }
  }
  for (Item& item : items) queue.remove(item);
  EXPECT_TRUE(queue.empty());
}

/// Takes up to `bytes` off the queue as text; file slices from the text that the file holds.
std::string take(SliceQueue& queue, std::uint64_t bytes, const std::string& file) {
  std::string text;
  std::uint64_t left = bytes;
  for (std::size_t i = 0; i < queue.size() && left > 0; ++i) {
    const Slice& slice = queue.at(i);
    const std::uint64_t count = std::min(left, slice.bytes);
    text += slice.is_file() ? file.substr(slice.file_position, count)
                            : std::string(reinterpret_cast<const char*>(slice.data), count);
    left -= count;
  }
  queue.consume(bytes - left);
  return text;
}

TEST(SliceQueueTest, GivesBytesInOrderAndPinsBackInTime) {
  std::mt19937 random(8);
  const KnownStream stream;
  struct Written {
    std::uint64_t end;
    CountedPin pin;
  };
  std::deque<Written> writes;
  std::uint64_t written = 0;
  std::uint64_t consumed = 0;
  SliceQueue queue;
  for (int step = 0; step < 5000; ++step) {
    std::vector<Slice> slices;
    for (std::size_t i = random() % 4; i > 0; --i) {
      const std::size_t bytes = random() % 40;  // also empty ones
      const std::uint64_t position = written % KnownStream::kPeriod;
      slices.push_back(random() % 2 == 0 ? Slice::file(99, position, bytes)
                                         : Slice::memory(std::as_bytes(std::span(stream.piece(position, bytes)))));
      written += bytes;
    }
    Written& write = writes.emplace_back();
    write.end = written;
    SliceQueue other;
    SliceQueue& into = random() % 2 == 0 ? queue : other;  // directly, or by way of take()
    into.push(slices, &write.pin);
    if (&into == &other) queue.take(other);
    ASSERT_EQ(queue.bytes(), written - consumed);

    const std::uint64_t count = std::min<std::uint64_t>(random() % 80, queue.bytes());
    ASSERT_EQ(take(queue, count, stream.text()), stream.piece(consumed, count));
    consumed += count;
    while (!writes.empty() && writes.front().end <= consumed) {
      ASSERT_TRUE(writes.front().pin.only_mine());
      writes.pop_front();
    }
  }
  queue.clear();
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.bytes(), 0U);
  for (const Written& write : writes) EXPECT_TRUE(write.pin.only_mine());
}

}  // namespace
}  // namespace streambus::test
