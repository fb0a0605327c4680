// What every transport must do, through the contract alone.

#include <malloc.h>
#include <sys/resource.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <numeric>
#include <set>

#include "allocation_count.hpp"
#include "stream_source.hpp"
#include "transport_fixture.hpp"

namespace streambus::test {
namespace {

class TransportTest : public testing::TestWithParam<const char*> {
 protected:
  [[nodiscard]] std::string plugin() const { return GetParam(); }
  [[nodiscard]] bool is_tcp() const { return plugin() == "transport-tcp"; }
};

INSTANTIATE_TEST_SUITE_P(All, TransportTest, testing::Values("transport-tcp", "transport-inproc"),
                         [](const auto& test) { return std::string(test.param) == "transport-tcp" ? "tcp" : "inproc"; });

constexpr std::string_view kText = "the quick brown fox jumps over the lazy dog, and back again 0123456789";

/// The session sends back what it gets.
void echo(TestSession& session) {
  session.keep_text = false;
  session.on_bytes = [](TestSession& self, Bytes bytes) {
    // The transport reads the slice when it sends, so the echoed bytes must live that long.
    struct Copy final : Pin {
      explicit Copy(Bytes from) : bytes(from.begin(), from.end()) {}
      void dispose() noexcept override { delete this; }
      std::vector<std::byte> bytes;
    };
    auto* copy = new Copy(bytes);
    const Slice slice = Slice::memory(copy->bytes);
    self.connection->write({&slice, 1}, copy);
    copy->release();
  };
}

TEST_P(TransportTest, StreamsAreCutAtEveryBoundary) {
  for (std::size_t buffer_bytes = 1; buffer_bytes <= kText.size();
       buffer_bytes = buffer_bytes < 9 ? buffer_bytes + 1 : buffer_bytes * 2 - 3) {
    TestFactory factory([&](TestSession& session) {
      echo(session);
      session.buffer_bytes = buffer_bytes;
    });
    TestSession client;
    client.buffer_bytes = buffer_bytes;
    TransportPair pair(plugin());
    pair.listen(factory);
    pair.connect_fully(client);
    std::string expected;
    for (std::size_t cut = 0; cut <= kText.size(); ++cut) {
      expected += kText;
      client.run([&] {
        const Slice slices[] = {Slice::memory(std::as_bytes(std::span(kText.substr(0, cut)))),
                                Slice::memory(std::as_bytes(std::span(kText.substr(cut))))};
        client.connection->write(slices, nullptr);
      });
    }
    ASSERT_TRUE(eventually([&] { return client.bytes_received == expected.size(); })) << buffer_bytes;
    ASSERT_EQ(client.text(), expected) << buffer_bytes;
  }
}

TEST_P(TransportTest, LargeTransfersBothWaysArriveWhole) {
  constexpr std::uint64_t kTotal = 24U << 20;
  const KnownStream stream;
  const TemporaryFile file(stream.text());
  StreamWriter down(stream, file, kTotal, 1);
  StreamWriter up(stream, file, kTotal, 2);
  std::atomic<bool> wrong{false};
  std::mt19937 sizes(3);
  const auto prepare = [&](TestSession& session, StreamWriter& writer, bool vary) {
    session.keep_text = false;
    session.on_opened = [&writer](TestSession& self) { writer.go_on(self); };
    session.on_writable = session.on_opened;
    session.on_bytes = [&wrong, &stream, &sizes, vary](TestSession& self, Bytes bytes) {
      if (!stream.matches(self.bytes_received - bytes.size(), bytes)) wrong = true;
      if (vary) self.buffer_bytes = 1 + sizes() % 200000;
    };
  };
  TestFactory factory([&](TestSession& session) { prepare(session, down, false); });
  TestSession client;
  prepare(client, up, true);
  TransportPair pair(plugin());
  pair.listen(factory);
  pair.connect_fully(client);
  TestSession& server = factory.at(0);
  EXPECT_TRUE(eventually([&] { return client.bytes_received == kTotal && server.bytes_received == kTotal; }))
      << client.bytes_received << " and " << server.bytes_received;
  EXPECT_FALSE(wrong);
  EXPECT_TRUE(down.done() && up.done());
  EXPECT_TRUE(eventually([&] { return down.released() && up.released(); })) << "a pin was kept after its bytes were sent";
}

TEST_P(TransportTest, ManyWritesOfOneCallbackKeepTheirOrder) {
  std::vector<std::string> parts(5000);
  std::string expected;
  for (std::size_t i = 0; i < parts.size(); ++i) expected += parts[i] = std::to_string(i) + ",";
  TestFactory factory([&](TestSession& session) {
    session.on_opened = [&](TestSession& self) {
      for (const std::string& part : parts) self.send(part);
      if (is_tcp()) {
        EXPECT_EQ(self.connection->queued_bytes(), expected.size()) << "they leave together, when the callback ends";
      }
    };
  });
  TestSession client;
  TransportPair pair(plugin());
  pair.listen(factory);
  pair.connect_fully(client);
  EXPECT_TRUE(eventually([&] { return client.bytes_received == expected.size(); }));
  EXPECT_EQ(client.text(), expected);
}

TEST_P(TransportTest, AWriterThatIsNotReadIsHeldBack) {
  // Every request byte makes the server answer 1 MiB; the client does not read.
  constexpr std::size_t kAnswer = 1 << 20;
  constexpr std::size_t kRequests = 200;
  const std::string answer(kAnswer, 'x');
  const std::string requests(kRequests, '?');
  TestFactory factory([&](TestSession& session) {
    session.buffer_bytes = 1;
    session.on_bytes = [&](TestSession& self, Bytes) { self.send(answer); };
  });
  TestSession client;
  client.keep_text = false;
  TransportPair pair(plugin(), {{"write_high_water", "4MiB"}, {"write_low_water", "1MiB"}});
  pair.listen(factory);
  pair.connect_fully(client);
  client.run([&] {
    client.connection->pause_reading();
    client.send(requests);
  });
  TestSession& server = factory.at(0);
  ASSERT_TRUE(eventually([&] { return server.bytes_received >= 5; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  // High-water mark plus one answer, plus what the kernel's socket buffers take (tcp_wmem and tcp_rmem: 4 and 6 MiB at most).
  EXPECT_LE(server.bytes_received, 5U + (is_tcp() ? 12U : 1U)) << "the server went on reading with its output above the mark";
  client.run([&] { client.connection->resume_reading(); });
  EXPECT_TRUE(eventually([&] { return client.bytes_received == kRequests * kAnswer; })) << client.bytes_received;
}

TEST_P(TransportTest, WritableIsCalledAtLowWaterAndWhenEmpty) {
  const std::string large(std::size_t{32} << 20, 'x');
  std::atomic<int> writable{0};
  std::vector<std::uint64_t> seen;  // on the server's thread, read after the close
  TestFactory factory([&](TestSession& session) {
    session.on_opened = [&](TestSession& self) { self.send(large); };
    session.on_writable = [&](TestSession& self) {
      seen.push_back(self.connection->queued_bytes());
      ++writable;
    };
  });
  TestSession client;
  client.keep_text = false;
  TransportPair pair(plugin());
  pair.listen(factory);
  pair.connect_fully(client);
  ASSERT_TRUE(eventually([&] { return client.bytes_received == large.size(); }));
  ASSERT_TRUE(eventually([&] { return writable >= 1; }));
  client.run([&] { client.connection->close(true); });
  ASSERT_TRUE(eventually([&] { return factory.at(0).is_closed.load(); }));
  ASSERT_FALSE(seen.empty());
  EXPECT_EQ(seen.back(), 0U);
  EXPECT_LE(seen.size(), 2U);
  if (seen.size() == 2) {
    EXPECT_LE(seen.front(), 1U << 20);
    EXPECT_GT(seen.front(), 0U);
  }
}

TEST_P(TransportTest, CloseWithFlushSendsEverythingFirst) {
  const std::string answer(std::size_t{8} << 20, 'a');
  TestFactory factory([&](TestSession& session) {
    session.keep_text = false;
    session.on_bytes = [&](TestSession& self, Bytes) {
      if (self.bytes_received > 1) return;
      self.send(answer);
      self.connection->close(true);
    };
    session.buffer_bytes = 1;
  });
  TestSession client;
  client.keep_text = false;
  client.buffer_bytes = 4096;
  TransportPair pair(plugin());
  pair.listen(factory);
  pair.connect_fully(client);
  const std::string more_requests(100000, '?');  // which the server never reads: they must not cost the answer
  client.run([&] { client.send(more_requests); });
  TestSession& server = factory.at(0);
  ASSERT_TRUE(eventually([&] { return server.is_closed && client.is_closed; }));
  EXPECT_EQ(client.bytes_received, answer.size());
  EXPECT_EQ(server.bytes_received, 1U);
  EXPECT_TRUE(server.reason().ok()) << server.reason().text;
}

TEST_P(TransportTest, CloseAtOnceDropsWhatIsQueued) {
  const std::string answer(std::size_t{64} << 20, 'a');
  TestFactory factory([&](TestSession& session) {
    session.on_bytes = [&](TestSession& self, Bytes) {
      self.send(answer);
      self.connection->close(false);
      self.connection->close(true);  // weaker and later: no effect
    };
  });
  TestSession client;
  client.keep_text = false;
  TransportPair pair(plugin());
  pair.listen(factory);
  pair.connect_fully(client);
  client.run([&] { client.send("?"); });
  ASSERT_TRUE(eventually([&] { return factory.at(0).is_closed && client.is_closed; }));
  EXPECT_LT(client.bytes_received, answer.size());
}

TEST_P(TransportTest, PinsAreReleasedWhenTheConnectionCloses) {
  const std::string large(std::size_t{64} << 20, 'p');
  CountedPin pin;
  TestFactory factory([&](TestSession& session) {
    session.on_opened = [&](TestSession& self) {
      const Slice slice = Slice::memory(std::as_bytes(std::span(large)));
      self.connection->write({&slice, 1}, &pin);
    };
  });
  TestSession client;
  client.gives_buffers = false;
  TransportPair pair(plugin());
  pair.listen(factory);
  pair.connect_fully(client);
  ASSERT_TRUE(eventually([&] { return client.buffers_asked > 0; }));
  EXPECT_FALSE(pin.only_mine());
  TestSession& server = factory.at(0);
  server.run([&] { server.connection->close(false); });
  EXPECT_TRUE(eventually([&] { return pin.only_mine(); }));
}

TEST_P(TransportTest, PeerThatClosesIsReadToTheEnd) {
  TestFactory factory;
  TestSession client;
  TransportPair pair(plugin());
  pair.listen(factory);
  pair.connect_fully(client);
  client.run([&] {
    client.send(kText);
    client.connection->close(true);
  });
  TestSession& server = factory.at(0);
  ASSERT_TRUE(eventually([&] { return server.is_closed && client.is_closed; }));
  EXPECT_EQ(server.text(), kText);
  EXPECT_TRUE(server.reason().ok()) << server.reason().text;
  EXPECT_TRUE(client.reason().ok()) << client.reason().text;
}

TEST_P(TransportTest, NoBufferPausesUntilResumed) {
  TestFactory factory([](TestSession& session) { session.gives_buffers = false; });
  TestSession client;
  TransportPair pair(plugin());
  pair.listen(factory);
  pair.connect_fully(client);
  TestSession& server = factory.at(0);
  EXPECT_EQ(server.buffers_asked, 0) << "an idle connection must not be asked for memory";
  client.run([&] { client.send(kText); });
  ASSERT_TRUE(eventually([&] { return server.buffers_asked == 1; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(server.buffers_asked, 1) << "asked again before resume_reading()";
  server.gives_buffers = true;
  server.run([&] { server.connection->resume_reading(); });
  EXPECT_TRUE(eventually([&] { return server.text() == kText; }));
}

TEST_P(TransportTest, PausedSessionsGetNothing) {
  TestFactory factory(
      [](TestSession& session) { session.on_opened = [](TestSession& self) { self.connection->pause_reading(); }; });
  TestSession client;
  TransportPair pair(plugin());
  pair.listen(factory);
  pair.connect_fully(client);
  client.run([&] { client.send(kText); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  TestSession& server = factory.at(0);
  EXPECT_EQ(server.buffers_asked, 0);
  server.run([&] { server.connection->resume_reading(); });
  EXPECT_TRUE(eventually([&] { return server.text() == kText; }));
}

TEST_P(TransportTest, DeadlinesFireAreReplacedAndCancelled) {
  constexpr std::int64_t kMs = 1'000'000;
  TestSession client;
  TestFactory factory;
  std::atomic<int> fired{0};
  std::atomic<std::int64_t> at{0};
  TransportPair pair(plugin());
  pair.listen(factory);
  RecordingHost& host = pair.client.host();
  client.on_deadline = [&](TestSession&) {
    at = host.monotonic_ns();
    ++fired;
  };
  pair.connect_fully(client);
  const auto set = [&](std::int64_t ns) { client.run([&client, ns] { client.connection->set_deadline(ns); }); };

  const std::int64_t first = host.monotonic_ns() + 10 * kMs;
  set(first);
  ASSERT_TRUE(eventually([&] { return fired == 1; }));
  EXPECT_GE(at, first);

  const std::int64_t second = host.monotonic_ns() + 60 * kMs;  // an earlier one is replaced by a later one
  set(host.monotonic_ns() + 20 * kMs);
  set(second);
  ASSERT_TRUE(eventually([&] { return fired == 2; }));
  EXPECT_GE(at, second);

  set(host.monotonic_ns() + 3'600'000 * kMs);  // a later one by an earlier one
  set(host.monotonic_ns() + 5 * kMs);
  ASSERT_TRUE(eventually([&] { return fired == 3; }));

  set(host.monotonic_ns() - kMs);  // past: at once
  ASSERT_TRUE(eventually([&] { return fired == 4; }));

  set(host.monotonic_ns() + 10 * kMs);
  set(INT64_MAX);
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  EXPECT_EQ(fired, 4) << "a cancelled deadline fired";
}

TEST_P(TransportTest, ADeadlineMaySetTheNextAndWrite) {
  TestSession client;
  std::atomic<int> ticks{0};
  TestFactory factory([&](TestSession& session) {
    session.on_opened = [](TestSession& self) { self.connection->set_deadline(0); };
    session.on_deadline = [&](TestSession& self) {
      self.send("tick,");
      if (++ticks < 5) self.connection->set_deadline(0);
    };
  });
  TransportPair pair(plugin());
  pair.listen(factory);
  pair.connect_fully(client);
  EXPECT_TRUE(eventually([&] { return client.text() == "tick,tick,tick,tick,tick,"; })) << client.text();
}

TEST_P(TransportTest, PostedCallsAllRunWhileTheConnectionCloses) {
  constexpr int kThreads = 4;
  constexpr int kPosts = 2000;
  TestFactory factory;
  TestSession client;
  client.keep_connection = true;
  TransportPair pair(plugin());
  pair.listen(factory);
  pair.connect_fully(client);
  Connection& connection = *client.connection;
  std::atomic<int> ran{0};
  std::vector<std::thread> posters;
  for (int i = 0; i < kThreads; ++i) {
    posters.emplace_back([&] {
      for (int j = 0; j < kPosts; ++j) {
        connection.post([](void* count) noexcept { ++*static_cast<std::atomic<int>*>(count); }, &ran);
      }
    });
  }
  ASSERT_TRUE(eventually([&] { return ran > 100; }));
  connection.post([](void* closing) noexcept { static_cast<Connection*>(closing)->close(false); }, &connection);
  ASSERT_TRUE(eventually([&] { return client.is_closed.load(); }));
  for (std::thread& poster : posters) poster.join();
  EXPECT_TRUE(eventually([&] { return ran == kThreads * kPosts; })) << ran;
  // Harmless after closed(), and post() still works.
  client.run([&] {
    connection.write({}, nullptr);
    client.send("late");
    connection.pause_reading();
    connection.resume_reading();
    connection.set_deadline(0);
    connection.close(true);
    EXPECT_EQ(connection.queued_bytes(), 0U);
  });
  client.drop();
}

TEST_P(TransportTest, PostedCallsRunEvenAfterStop) {
  TestFactory factory;
  TestSession client;
  client.keep_connection = true;
  TransportPair pair(plugin());
  pair.listen(factory);
  pair.connect_fully(client);
  pair.client->stop();
  EXPECT_TRUE(client.is_closed);
  EXPECT_EQ(client.reason().code, ErrorCode::cancelled);
  bool ran = false;
  client.run([&] { ran = true; });
  EXPECT_TRUE(ran);
  client.drop();
}

TEST_P(TransportTest, DrainAsksSessionsAndWaitsForThem) {
  TestFactory factory([](TestSession& session) {
    session.on_drain = [](TestSession& self) {
      self.send("goodbye");
      self.connection->close(true);
    };
  });
  std::deque<TestSession> clients(5);
  TransportPair pair(plugin());
  pair.listen(factory);
  for (TestSession& client : clients) pair.connect_fully(client);
  pair.listener->drain(pair.server.host().monotonic_ns() + 60'000'000'000);
  factory.each([](const TestSession& session) {
    EXPECT_TRUE(session.is_closed);
    EXPECT_TRUE(session.reason().ok()) << session.reason().text;
  });
  for (TestSession& client : clients) {
    EXPECT_TRUE(eventually([&] { return client.is_closed.load(); }));
    EXPECT_EQ(client.text(), "goodbye");
  }
  TestSession late;
  if (pair.client->connect(pair.listener->address(), 1'000'000'000, late).ok()) {
    EXPECT_TRUE(eventually([&] { return late.is_closed.load(); }));
    EXPECT_FALSE(late.is_open);
  }
}

TEST_P(TransportTest, DrainClosesWhatIgnoresItAtTheDeadline) {
  std::atomic<int> drains{0};
  TestFactory factory([&](TestSession& session) { session.on_drain = [&](TestSession&) { ++drains; }; });
  TestSession client;
  TransportPair pair(plugin());
  pair.listen(factory);
  pair.connect_fully(client);
  const std::int64_t deadline = pair.server.host().monotonic_ns() + 30'000'000;
  pair.listener->drain(deadline);
  EXPECT_GE(pair.server.host().monotonic_ns(), deadline);
  EXPECT_EQ(drains, 1);
  ASSERT_TRUE(factory.at(0).is_closed);
  EXPECT_EQ(factory.at(0).reason().code, ErrorCode::timeout);
  EXPECT_TRUE(eventually([&] { return client.is_closed.load(); }));
}

TEST_P(TransportTest, ConnectionsWaitUntilTheListenerStarts) {
  TestFactory factory;
  TestSession client;
  TransportPair pair(plugin());
  ASSERT_TRUE(pair.server->listen(pair.any_address(), factory, &pair.listener).ok());
  pair.connect(client);
  ASSERT_TRUE(eventually([&] { return client.is_open.load(); }));
  client.run([&] { client.send(kText); });
  EXPECT_EQ(factory.count(), 0U);
  ASSERT_TRUE(pair.listener->start().ok());
  ASSERT_TRUE(eventually([&] { return factory.count() == 1 && factory.at(0).text() == kText; }));
  EXPECT_FALSE(pair.listener->start().ok()) << "started twice";
}

TEST_P(TransportTest, AListenerThatNeverStartedDropsItsBacklog) {
  TestFactory factory;
  TestSession client;
  TransportPair pair(plugin());
  ASSERT_TRUE(pair.server->listen(pair.any_address(), factory, &pair.listener).ok());
  pair.connect(client);
  ASSERT_TRUE(eventually([&] { return client.is_open.load(); }));
  pair.close_listener();
  EXPECT_TRUE(eventually([&] { return client.is_closed.load(); }));
  EXPECT_EQ(factory.count(), 0U);
}

TEST_P(TransportTest, RefusedSessionsCloseTheConnection) {
  TestFactory factory;
  factory.refuses = true;
  TestSession client;
  TransportPair pair(plugin());
  pair.listen(factory);
  pair.connect(client);
  EXPECT_TRUE(eventually([&] { return client.is_closed.load(); }));
}

TEST_P(TransportTest, ConnectionsMaxIsKept) {
  TestFactory factory;
  std::deque<TestSession> clients(3);
  TransportPair pair(plugin(), {{"connections_max", "2"}});
  pair.listen(factory);
  pair.connect_fully(clients[0]);
  pair.connect_fully(clients[1]);
  pair.connect(clients[2]);
  EXPECT_TRUE(eventually([&] { return clients[2].is_closed.load(); }));
  EXPECT_EQ(pair.server.host().logged("connections_max"), 1U);
  EXPECT_FALSE(clients[0].is_closed || clients[1].is_closed);
  // One leaves: there is room again.
  clients[0].run([&] { clients[0].connection->close(true); });
  ASSERT_TRUE(eventually([&] { return factory.at(0).is_closed.load(); }));
  TestSession another;
  ASSERT_TRUE(eventually([&] {  // the count falls a moment after closed()
    if (another.is_open) return true;
    return another.is_closed || pair.client->connect(pair.listener->address(), 1'000'000'000, another).ok();
  }));
  EXPECT_TRUE(eventually([&] { return factory.count() == 3; }));
  pair.client->stop();
}

TEST_P(TransportTest, ATruncatedFileClosesTheConnection) {
  const TemporaryFile file("only twenty bytes...");
  TestFactory factory([&](TestSession& session) {
    session.on_opened = [&](TestSession& self) {
      const Slice slices[] = {Slice::memory(std::as_bytes(std::span(kText))), Slice::file(file.fd(), 10, 1000)};
      self.connection->write(slices, nullptr);
    };
  });
  TestSession client;
  TransportPair pair(plugin());
  pair.listen(factory);
  pair.connect(client);
  ASSERT_TRUE(eventually([&] { return client.is_closed.load() && factory.at(0).is_closed; }));
  const TestSession& failed = is_tcp() ? factory.at(0) : client;  // the side that reads the file
  EXPECT_EQ(failed.reason().code, ErrorCode::corrupt);
  EXPECT_TRUE(failed.reason().message().contains("file ends at byte 20")) << failed.reason().text;
}

TEST_P(TransportTest, StopClosesEverything) {
  TestFactory factory;
  std::deque<TestSession> clients(10);
  TransportPair pair(plugin(), {{"threads", "2"}}, {{"threads", "2"}});
  pair.listen(factory);
  for (TestSession& client : clients) pair.connect_fully(client);
  pair.server->stop();
  factory.each([](const TestSession& session) { EXPECT_TRUE(session.is_closed); });
  for (TestSession& client : clients) EXPECT_TRUE(eventually([&] { return client.is_closed.load(); }));
  TestSession late;
  Listener* listener = nullptr;
  EXPECT_EQ(pair.server->connect(pair.any_address() == "main" ? "main" : "127.0.0.1:1", 1, late).code, ErrorCode::closed);
  EXPECT_EQ(pair.server->listen(pair.any_address(), factory, &listener).code, ErrorCode::closed);
  EXPECT_EQ(listener, nullptr);
  EXPECT_FALSE(pair.server->start().ok());
}

TEST_P(TransportTest, ConnectionsStayOnTheirThreadsAndSpread) {
  TestFactory factory([](TestSession& session) { echo(session); });
  std::deque<TestSession> clients(8);
  TransportPair pair(plugin(), {{"threads", "4"}}, {{"threads", "2"}});
  pair.listen(factory);
  for (TestSession& client : clients) pair.connect_fully(client);
  for (int round = 0; round < 50; ++round) {
    for (TestSession& client : clients) client.run([&] { client.send("x"); });
  }
  for (TestSession& client : clients) EXPECT_TRUE(eventually([&] { return client.bytes_received == 50; }));
  std::map<std::thread::id, int> per_thread;
  factory.each([&](const TestSession& session) { ++per_thread[session.thread]; });
  EXPECT_EQ(per_thread.size(), 4U);
  for (const auto& [thread, count] : per_thread) EXPECT_EQ(count, 2) << "connections must go to the thread with the fewest";
}

TEST_P(TransportTest, RoundTripsAllocateNothing) {
  if (!kCountsAllocations) GTEST_SKIP() << "the sanitizer owns operator new";
  constexpr int kWarmUp = 100;
  constexpr int kRounds = 1000;
  std::atomic<std::size_t> server_before{0}, server_after{0};
  std::size_t client_before = 0;
  std::atomic<std::size_t> client_after{0};
  const auto prepare = [](TestSession& session, auto& before, auto& after) {
    session.keep_text = false;
    session.on_bytes = [&, round = 0](TestSession& self, Bytes) mutable {
      ++round;
      if (round == kWarmUp) before = allocations();
      if (round == kWarmUp + kRounds) after = allocations();
      if (round > kWarmUp + kRounds) return;
      self.connection->set_deadline(round * std::int64_t{1'000'000'000'000'000});  // a long poll's
      self.send("ball");
    };
  };
  TestFactory factory([&](TestSession& session) { prepare(session, server_before, server_after); });
  TestSession client;
  prepare(client, client_before, client_after);
  TransportPair pair(plugin(), {{"threads", "1"}}, {{"threads", "1"}});
  pair.listen(factory);
  pair.connect_fully(client);
  client.run([&] { client.send("ball"); });
  ASSERT_TRUE(eventually([&] { return server_after > 0 && client_after > 0; }));
  EXPECT_GT(server_before, 0U) << "the count does not see the plugin";
  EXPECT_EQ(server_after - server_before, 0U) << "allocations in " << kRounds << " rounds";
  EXPECT_EQ(client_after - client_before, 0U) << "allocations in " << kRounds << " rounds";
}

TEST_P(TransportTest, IdleConnectionsAreSmall) {
  if (!kCountsAllocations) GTEST_SKIP() << "the sanitizer owns the heap";
  constexpr std::size_t kConnections = 500;
  TestFactory factory([](TestSession& session) {
    echo(session);
    session.buffer_bytes = 8;
  });
  std::deque<TestSession> clients(kConnections);
  for (TestSession& client : clients) {
    client.on_opened = [](TestSession& self) { self.send("hello"); };
    client.buffer_bytes = 8;
  }
  TransportPair pair(plugin());
  pair.listen(factory);
  const std::size_t before = ::mallinfo2().uordblks;
  for (TestSession& client : clients) pair.connect(client);
  for (TestSession& client : clients) ASSERT_TRUE(eventually([&] { return client.bytes_received == 5; }));
  const std::size_t per_connection = (::mallinfo2().uordblks - before) / kConnections;
  // Both ends, with the sessions of the test; an end is to stay far below the 32 KiB that a connection may cost in all.
  EXPECT_LT(per_connection, 8192U);
}

TEST_P(TransportTest, TwoThousandConnectionsOpenAndClose) {
  constexpr std::size_t kConnections = 2000;
  rlimit files{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &files), 0);
  files.rlim_cur = files.rlim_max;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &files), 0);
  if (is_tcp() && files.rlim_cur < 2 * kConnections + 100) GTEST_SKIP() << "the limit of open files is " << files.rlim_cur;

  TestFactory factory([](TestSession& session) { echo(session); });
  std::deque<TestSession> clients(kConnections);
  TransportPair pair(plugin(), {{"threads", "2"}}, {{"threads", "2"}});
  pair.listen(factory);
  for (TestSession& client : clients) {
    client.buffer_bytes = 64;
    client.on_opened = [](TestSession& self) { self.send("hello"); };
    pair.connect(client);
  }
  for (TestSession& client : clients) ASSERT_TRUE(eventually([&] { return client.text() == "hello"; }));
  for (std::size_t i = 0; i < kConnections; i += 2) {
    clients[i].run([&] { clients[i].connection->close(i % 4 == 0); });
  }
  ASSERT_TRUE(eventually([&] {
    std::size_t closed = 0;
    factory.each([&](const TestSession& session) { closed += session.is_closed ? 1 : 0; });
    return closed == kConnections / 2;
  }));
  pair.listener->drain(pair.server.host().monotonic_ns() + 60'000'000'000);
  factory.each([](const TestSession& session) { EXPECT_TRUE(session.is_closed); });
}

TEST_P(TransportTest, ConnectingToNobodyFails) {
  TestSession client;
  LoadedTransport transport(plugin());
  ASSERT_TRUE(transport->connect(is_tcp() ? "127.0.0.1:1" : "nobody", 5'000'000'000, client).ok());
  ASSERT_TRUE(eventually([&] { return client.is_closed.load(); }));
  EXPECT_FALSE(client.is_open);
  const std::string text = client.reason().text;
  EXPECT_TRUE(text.contains(is_tcp() ? "cannot connect to 127.0.0.1:1: Connection refused"
                                     : "no inproc listener has the name 'nobody'"))
      << text;
}

TEST_P(TransportTest, CallsOutOfTurnAreRefused) {
  TestSession client;
  TestFactory factory;
  Listener* listener = nullptr;
  LoadedTransport transport(plugin(), {}, false);
  const std::string address = is_tcp() ? "127.0.0.1:0" : "main";
  EXPECT_EQ(transport->listen(address, factory, &listener).code, ErrorCode::closed);
  EXPECT_EQ(transport->connect(address, 1, client).code, ErrorCode::closed);
  LoadedTransport impossible(plugin(), {{"write_low_water", "8MiB"}}, false);
  EXPECT_EQ(impossible.created().code, ErrorCode::invalid_argument);
  EXPECT_TRUE(impossible.created().message().contains("write_low_water is 8388608 bytes")) << impossible.created().text;
}

TEST_P(TransportTest, AnAddressIsTakenOnce) {
  TestFactory factory;
  Listener* second = nullptr;
  TransportPair pair(plugin());
  pair.listen(factory);
  const Status status = pair.client->listen(pair.listener->address(), factory, &second);
  EXPECT_EQ(status.code, ErrorCode::busy);
  EXPECT_TRUE(status.message().contains("in use")) << status.text;
  EXPECT_TRUE(status.message().contains(pair.listener->address())) << status.text;
  const std::string address(pair.listener->address());
  pair.close_listener();
  ASSERT_TRUE(pair.server->listen(address, factory, &pair.listener).ok()) << "free again after close()";
}

}  // namespace
}  // namespace streambus::test
