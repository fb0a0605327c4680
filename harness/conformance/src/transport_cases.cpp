// What every transport must do.

#include <algorithm>
#include <deque>

#include "case_lists.hpp"
#include "streambus/base/bytes.hpp"
#include "streambus/conformance/stream_source.hpp"
#include "transport_fixture.hpp"

namespace streambus::conformance {
namespace {

constexpr std::string_view kText = "the quick brown fox jumps over the lazy dog, and back again 0123456789";

/// A copy of bytes that lives as long as somebody sends it.
struct SentCopy final : Pin {
  explicit SentCopy(Bytes from) : bytes(from.begin(), from.end()) {}
  void dispose() noexcept override { delete this; }
  std::vector<std::byte> bytes;
};

void echo(TestSession& session) {
  session.keep_text = false;
  session.on_bytes = [](TestSession& self, Bytes bytes) {
    auto* const copy = new SentCopy(bytes);
    const Slice slice = Slice::memory(copy->bytes);
    self.connection->write({&slice, 1}, copy);
    copy->release();
  };
}

void cut_everywhere(CaseContext& context) {
  for (std::size_t buffer_bytes = 1; buffer_bytes <= kText.size();
       buffer_bytes = buffer_bytes < 9 ? buffer_bytes + 1 : buffer_bytes * 2 - 3) {
    context.at(fmt::format("receive buffers of {} bytes", buffer_bytes));
    TestFactory factory([&](TestSession& session) {
      echo(session);
      session.buffer_bytes = buffer_bytes;
    });
    TestSession client;
    client.buffer_bytes = buffer_bytes;
    TransportPair pair(context);
    pair.listen(factory);
    pair.connect_fully(client);
    std::string expected;
    for (std::size_t cut = 0; cut <= kText.size(); ++cut) {
      expected += kText;
      client.run([&] {
        const Slice slices[] = {Slice::memory(as_bytes(kText.substr(0, cut))), Slice::memory(as_bytes(kText.substr(cut)))};
        client.connection->write(slices, nullptr);
      });
    }
    expect_eventually("every byte to come back", [&] { return client.bytes_received == expected.size(); });
    expect_bytes("what came back", as_bytes(client.text()), as_bytes(expected));
    pair.finish();
  }
}

void both_ways(CaseContext& context) {
  const std::uint64_t total = context.rounds(4U << 20, 24U << 20, 512U << 20);
  const KnownStream stream;
  const TemporaryFile file(stream.text());
  StreamWriter down(stream, file, total, static_cast<unsigned>(context.seed));
  StreamWriter up(stream, file, total, static_cast<unsigned>(context.seed + 1));
  std::mt19937_64 sizes(context.seed);
  const auto prepare = [&](TestSession& session, StreamWriter& writer, bool vary) {
    session.keep_text = false;
    session.on_opened = [&writer](TestSession& self) { writer.go_on(self); };
    session.on_writable = session.on_opened;
    session.on_bytes = [&, vary](TestSession& self, Bytes bytes) {
      expect(stream.matches(self.bytes_received - bytes.size(), bytes),
             fmt::format("the bytes that were sent, found others before byte {}", self.bytes_received.load()));
      if (vary) self.buffer_bytes = 1 + sizes() % 200'000;
    };
  };
  TestFactory factory([&](TestSession& session) { prepare(session, down, false); });
  TestSession client;
  prepare(client, up, true);
  TransportPair pair(context);
  pair.listen(factory);
  pair.connect_fully(client);
  TestSession& server = factory.at(0);
  expect_eventually("all bytes to arrive", [&] { return client.bytes_received == total && server.bytes_received == total; });
  expect_eventually("the pins to be released when their bytes are sent", [&] { return down.released() && up.released(); });
  pair.finish();
}

void back_pressure(CaseContext& context) {
  constexpr std::size_t kAnswer = 1 << 20;
  constexpr std::size_t kRequests = 100;
  const std::string answer(kAnswer, 'x');
  const std::string requests(kRequests, '?');
  TestFactory factory([&](TestSession& session) {
    session.buffer_bytes = 1;
    session.on_bytes = [&](TestSession& self, Bytes) { self.send(answer); };
  });
  TestSession client;
  client.keep_text = false;
  TransportPair pair(context);
  pair.listen(factory);
  pair.connect_fully(client);
  client.run([&] {
    client.connection->pause_reading();
    client.send(requests);
  });
  TestSession& server = factory.at(0);
  expect_eventually("the first requests to be answered", [&] { return server.bytes_received >= 5; });
  // Until it stands still: a writer that is not held back answers all of them.
  std::uint64_t before = 0;
  do {
    before = server.bytes_received;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  } while (server.bytes_received != before);
  expect_at_most("requests of 1 MiB answered while the peer reads nothing: reading stops above the high-water mark",
                 server.bytes_received.load(), kRequests / 2);
  client.run([&] { client.connection->resume_reading(); });
  expect_eventually("all answers to arrive when the peer reads again",
                    [&] { return client.bytes_received == kRequests * kAnswer; });
  pair.finish();
}

void pausing(CaseContext& context) {
  TestFactory factory([](TestSession& session) { session.gives_buffers = false; });
  TestSession client;
  TransportPair pair(context);
  pair.listen(factory);
  pair.connect_fully(client);
  TestSession& server = factory.at(0);
  expect_equal("buffers asked of an idle session", server.buffers_asked.load(), 0);
  client.run([&] { client.send(kText); });
  expect_eventually("a buffer to be asked for", [&] { return server.buffers_asked == 1; });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  expect_equal("buffers asked before resume_reading()", server.buffers_asked.load(), 1);
  server.gives_buffers = true;
  server.run([&] { server.connection->resume_reading(); });
  expect_eventually("the bytes after resume_reading()", [&] { return server.text() == kText; });
  server.run([&] { server.connection->pause_reading(); });
  const int asked = server.buffers_asked;
  client.run([&] { client.send(kText); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  expect_equal("buffers asked of a paused session", server.buffers_asked.load(), asked);
  server.run([&] { server.connection->resume_reading(); });
  expect_eventually("the rest after resume_reading()", [&] { return server.bytes_received == 2 * kText.size(); });
  pair.finish();
}

void half_close(CaseContext& context) {
  const std::string answer(std::size_t{8} << 20, 'a');
  TestFactory factory([&](TestSession& session) {
    session.keep_text = false;
    session.buffer_bytes = 1;
    session.on_bytes = [&](TestSession& self, Bytes) {
      if (self.bytes_received > 1) return;
      self.send(answer);
      self.connection->close(true);
    };
  });
  TestSession client;
  client.keep_text = false;
  client.buffer_bytes = 4096;
  TransportPair pair(context);
  pair.listen(factory);
  pair.connect_fully(client);
  const std::string more(100'000, '?');  // which the server never reads: they must not cost the answer
  client.run([&] { client.send(more); });
  TestSession& server = factory.at(0);
  expect_eventually("both ends to close", [&] { return server.is_closed && client.is_closed; });
  expect_equal("bytes that arrived before the close", client.bytes_received.load(), answer.size());
  expect_equal("bytes given to a session that closes", server.bytes_received.load(), 1U);
  expect_ok(server.reason(), "reason of the side that closed");

  TestSession second;
  pair.connect_fully(second);
  TestSession& peer = factory.at(1);
  peer.run([&] { peer.on_bytes = [](TestSession&, Bytes) {}; });
  second.run([&] {
    second.send(kText);
    second.connection->close(true);
  });
  expect_eventually("both ends to close", [&] { return peer.is_closed && second.is_closed; });
  expect_equal("bytes read from a peer that sent and closed", peer.bytes_received.load(), kText.size());
  expect_ok(peer.reason(), "reason where the peer closed in order");
  pair.finish();
}

void close_at_once(CaseContext& context) {
  const std::string large(std::size_t{64} << 20, 'p');
  CountedPin pin;
  TestFactory factory([&](TestSession& session) {
    session.on_opened = [&](TestSession& self) {
      const Slice slice = Slice::memory(as_bytes(large));
      self.connection->write({&slice, 1}, &pin);
    };
  });
  TestSession client;
  client.gives_buffers = false;
  TransportPair pair(context);
  pair.listen(factory);
  pair.connect_fully(client);
  expect_eventually("a buffer to be asked for", [&] { return client.buffers_asked > 0; });
  expect(!pin.only_mine(), "a pin that is held while its bytes are not sent");
  TestSession& server = factory.at(0);
  server.run([&] { server.connection->close(false); });
  expect_eventually("the pin to be released with the connection", [&] { return pin.only_mine(); });
  expect_eventually("the session to be closed",
                    [&] { return server.is_closed.load(); });  // its peer reads nothing and need not know
  pair.finish();
}

void posting(CaseContext& context) {
  constexpr int kThreads = 4;
  const int posts = static_cast<int>(context.rounds(1000, 5000, 100'000));
  TestFactory factory;
  TestSession client;
  client.keep_connection = true;
  TransportPair pair(context);
  pair.listen(factory);
  pair.connect_fully(client);
  Connection& connection = *client.connection;
  struct Calls {
    std::atomic<int> ran{0};
    std::atomic<int> elsewhere{0};
    std::thread::id thread;
  } calls;
  calls.thread = client.thread;
  std::vector<std::thread> posters;
  for (int i = 0; i < kThreads; ++i) {
    posters.emplace_back([&] {
      for (int j = 0; j < posts; ++j) {
        connection.post(
            [](void* to) noexcept {
              auto& into = *static_cast<Calls*>(to);
              if (std::this_thread::get_id() != into.thread) ++into.elsewhere;
              ++into.ran;
            },
            &calls);
      }
    });
  }
  expect_eventually("posted calls to run", [&] { return calls.ran > 100; });
  connection.post([](void* closing) noexcept { static_cast<Connection*>(closing)->close(false); }, &connection);
  expect_eventually("the connection to close", [&] { return client.is_closed.load(); });
  for (std::thread& poster : posters) poster.join();
  expect_eventually("every posted call to run, after closed() too", [&] { return calls.ran == kThreads * posts; });
  expect_equal("calls that ran on another thread than the connection's, while it was open", calls.elsewhere.load(), 0);
  client.run([&] {  // harmless after closed()
    connection.write({}, nullptr);
    client.send("late");
    connection.pause_reading();
    connection.resume_reading();
    connection.set_deadline(0);
    connection.close(true);
    expect_equal("queued_bytes() after closed()", connection.queued_bytes(), 0U);
  });
  client.drop();
  pair.finish();
}

void deadlines(CaseContext& context) {
  constexpr std::int64_t kMs = 1'000'000;
  TestSession client;
  TestFactory factory;
  std::atomic<int> fired{0};
  std::atomic<std::int64_t> at{0};
  TransportPair pair(context);
  pair.listen(factory);
  StorageHost& host = pair.client.host();
  client.on_deadline = [&](TestSession&) {
    at = host.monotonic_ns();
    ++fired;
  };
  pair.connect_fully(client);
  const auto set = [&](std::int64_t ns) { client.run([&client, ns] { client.connection->set_deadline(ns); }); };
  const std::int64_t first = host.monotonic_ns() + 10 * kMs;
  set(first);
  expect_eventually("a deadline to fire", [&] { return fired == 1; });
  expect_at_least("time of the deadline", at.load(), first);
  const std::int64_t second = host.monotonic_ns() + 60 * kMs;
  set(host.monotonic_ns() + 30 * kMs);
  set(second);
  expect_eventually("a deadline that took the place of an earlier one", [&] { return fired == 2; });
  expect_at_least("time of the deadline", at.load(), second);
  set(host.monotonic_ns() + 3'600'000 * kMs);
  set(host.monotonic_ns() - kMs);
  expect_eventually("a deadline in the past to fire at once", [&] { return fired == 3; });
  set(host.monotonic_ns() + 50 * kMs);
  set(INT64_MAX);
  std::this_thread::sleep_for(std::chrono::milliseconds(80));
  expect_equal("deadlines that fired after INT64_MAX was set", fired.load(), 3);
  pair.finish();
}

void drain(CaseContext& context) {
  TestFactory factory([](TestSession& session) {
    session.on_drain = [](TestSession& self) {
      self.send("goodbye");
      self.connection->close(true);
    };
  });
  std::deque<TestSession> clients(5);
  TransportPair pair(context);
  pair.listen(factory);
  for (TestSession& client : clients) pair.connect_fully(client);
  pair.listener->drain(pair.server.host().monotonic_ns() + 60'000'000'000);
  factory.each([](const TestSession& session) {
    expect(session.is_closed, "every session to be closed when drain() returns");
    expect_ok(session.reason(), "reason of a session that closed in order");
  });
  for (TestSession& client : clients) {
    expect_eventually("the clients to see the close", [&] { return client.is_closed.load(); });
    expect_equal("what was sent while draining", client.text(), "goodbye");
  }
  pair.finish();
}

void drain_deadline(CaseContext& context) {
  std::atomic<int> drains{0};
  TestFactory factory([&](TestSession& session) { session.on_drain = [&](TestSession&) { ++drains; }; });
  TestSession client;
  TransportPair pair(context);
  pair.listen(factory);
  pair.connect_fully(client);
  const std::int64_t deadline = pair.server.host().monotonic_ns() + 30'000'000;
  pair.listener->drain(deadline);
  expect_at_least("time when drain() returned, with a session that ignores it", pair.server.host().monotonic_ns(), deadline);
  expect_equal("calls of drain() of the session", drains.load(), 1);
  expect(factory.at(0).is_closed, "what is left at the deadline to be closed");
  expect(!factory.at(0).reason().ok(), "a reason other than ok for what was closed at the deadline");
  expect_eventually("the client to see the close", [&] { return client.is_closed.load(); });
  pair.finish();
}

void stop(CaseContext& context) {
  TestFactory factory;
  std::deque<TestSession> clients(8);
  TransportPair pair(context);
  pair.listen(factory);
  for (TestSession& client : clients) pair.connect_fully(client);
  pair.server->stop();
  factory.each([](const TestSession& session) { expect(session.is_closed, "every session to be closed when stop() returns"); });
  for (TestSession& client : clients)
    expect_eventually("the clients to see the close", [&] { return client.is_closed.load(); });
  TestSession late;
  Listener* listener = nullptr;
  expect(!pair.server->listen(context.traits.address, factory, &listener).ok(), "listen() after stop() to be refused");
  expect(listener == nullptr, "no listener from a listen() that failed");
  pair.finish();
}

void limits(CaseContext& context) {
  if (!context.has_option("connections_max")) skip_case("the plugin has no option connections_max");
  TestFactory factory;
  std::deque<TestSession> clients(3);
  TransportPair pair(context, context.options_with("connections_max", "2"));
  pair.listen(factory);
  pair.connect_fully(clients[0]);
  pair.connect_fully(clients[1]);
  pair.connect(clients[2]);
  expect_eventually("the third of two connections to be closed", [&] { return clients[2].is_closed.load(); });
  expect(!clients[0].is_closed && !clients[1].is_closed, "the other connections to stay");
  expect_equal("sessions made", factory.count(), 2U);
  pair.finish();
}

void nobody(CaseContext& context) {
  TestFactory factory;
  TestSession client;
  std::string address;
  {
    TransportPair pair(context);
    pair.listen(factory);
    address = pair.listener->address();
    Listener* second = nullptr;
    const Status taken = pair.client->listen(address, factory, &second);
    expect(!taken.ok(), "listen() on an address that is taken to be refused");
    expect(taken.message().contains(address),
           fmt::format("the refusal to name the address {}, found '{}'", address, taken.message()));
    pair.finish();
  }
  PluginObject<Transport> transport(context.plugin, context.options);
  expect_ok(transport->start(), "start()");
  const Status status = transport->connect(address, 5'000'000'000, client);
  if (status.ok()) {
    expect_eventually("a connection to nobody to be closed", [&] { return client.is_closed.load(); });
    expect(!client.is_open, "a connection to nobody never to open");
    expect(client.reason().text[0] != '\0', "a reason");
  }
  transport->stop();
}

void many(CaseContext& context) {
  const std::size_t count = context.rounds(50, 500, 2000);
  TestFactory factory([](TestSession& session) { echo(session); });
  std::deque<TestSession> clients(count);
  TransportPair pair(context);
  pair.listen(factory);
  for (TestSession& client : clients) {
    client.buffer_bytes = 64;
    client.on_opened = [](TestSession& self) { self.send("hello"); };
    pair.connect(client);
  }
  for (TestSession& client : clients)
    expect_eventually("an echo on every connection", [&] { return client.text() == "hello"; });
  for (std::size_t i = 0; i < count; i += 2) clients[i].run([&] { clients[i].connection->close(i % 4 == 0); });
  expect_eventually("half of the sessions to close", [&] {
    std::size_t closed = 0;
    factory.each([&](const TestSession& session) { closed += session.is_closed ? 1 : 0; });
    return closed == (count + 1) / 2;
  });
  pair.finish();
}

constexpr Case kCases[] = {
    {"transport.stream.cuts", "Bytes arrive in order whatever boundaries writes, slices and receive buffers have.",
     Level::basic, kNothing, &cut_everywhere},
    {"transport.stream.both_ways",
     "Memory and file slices of all sizes arrive whole, both ways at once; a pin is held until its bytes are sent.",
     Level::basic, kNothing, &both_ways},
    {"transport.back_pressure", "A session whose peer does not read is asked for no more input above the high-water mark.",
     Level::basic, kNothing, &back_pressure},
    {"transport.pause",
     "No buffer and pause_reading() stop reading until resume_reading(); idle sessions are asked for nothing.", Level::basic,
     kNothing, &pausing},
    {"transport.half_close", "close(true) sends everything first; what a peer sent before it closed is read to the end.",
     Level::basic, kNothing, &half_close},
    {"transport.close_at_once", "close(false) drops what is queued and releases its pins.", Level::basic, kNothing,
     &close_at_once},
    {"transport.post",
     "Every posted call runs, on the connection's thread, after closed() too; calls after closed() are harmless.", Level::basic,
     kNothing, &posting},
    {"transport.deadline", "A deadline fires once and not early, is replaced by the next one and cancelled by INT64_MAX.",
     Level::basic, kNothing, &deadlines},
    {"transport.drain", "drain() asks every session and returns when all are closed.", Level::basic, kNothing, &drain},
    {"transport.drain_deadline", "What ignores drain() is closed at its deadline.", Level::basic, kNothing, &drain_deadline},
    {"transport.stop", "stop() closes every connection and ends the transport.", Level::basic, kNothing, &stop},
    {"transport.limits", "connections_max is kept, and those that are open stay.", Level::basic, kNothing, &limits},
    {"transport.nobody", "An address is taken once; connecting where nobody listens ends in closed() with a reason.",
     Level::basic, kNothing, &nobody},
    {"transport.many", "Many connections open, talk and close at the same time.", Level::basic, kNothing, &many},
};

}  // namespace

std::span<const Case> transport_cases() { return kCases; }

}  // namespace streambus::conformance
