#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "connection.hpp"
#include "streambus/plugin/host.hpp"
#include "streambus/plugin/options.hpp"
#include "streambus/plugin/transport.hpp"

namespace streambus::transport_inproc {

class InprocTransport;

/// A name that clients in this process connect to, through any transport object of this plugin.
class InprocListener final : public Listener {
 public:
  InprocListener(InprocTransport& transport, SessionFactory& factory, std::string name);

  // Listener
  [[nodiscard]] std::string_view address() const noexcept override { return name_; }
  Status start() noexcept override;
  void drain(std::int64_t deadline_ns) noexcept override;
  void close() noexcept override;

  /// Makes the server's end for a client's end that is not in use yet. Under the registry's lock.
  [[nodiscard]] InprocConnection* offer(std::shared_ptr<Pipe> in, std::shared_ptr<Pipe> out, std::string peer);
  /// Puts the end to work, once start() was called. Under the registry's lock.
  void accept(InprocConnection& end);

 private:
  ~InprocListener() = default;
  void hand_over(InprocConnection& end);

  InprocTransport& transport_;
  SessionFactory& factory_;
  const std::string name_;
  const std::shared_ptr<transport_common::AcceptGroup> group_;
  bool started_ = false;                    // guarded by the registry's lock
  std::vector<InprocConnection*> backlog_;  // guarded by the registry's lock
};

/// The plugin's object: the threads of one side. Thread-safe.
class InprocTransport final : public Transport {
 public:
  InprocTransport(Host& host, const Options& options);
  ~InprocTransport() override;

  // Transport
  Status start() noexcept override;
  Status listen(std::string_view address, SessionFactory& factory, Listener** out) noexcept override;
  Status connect(std::string_view address, std::int64_t timeout_ns, Session& session) noexcept override;
  void stop() noexcept override;

  [[nodiscard]] Host& host() const noexcept { return host_; }
  [[nodiscard]] std::size_t connections_max() const noexcept { return connections_max_; }
  [[nodiscard]] const transport_common::WaterMarks& marks() const noexcept { return marks_; }
  [[nodiscard]] const std::vector<std::shared_ptr<InprocThread>>& threads() const noexcept { return threads_; }
  /// The thread with the fewest connections, which the new one is counted to.
  [[nodiscard]] std::shared_ptr<InprocThread> choose_thread() noexcept;
  void forget(InprocListener& listener) noexcept;

 private:
  enum class State : std::uint8_t { created, running, stopped };
  [[nodiscard]] Status not_running() const noexcept;

  Host& host_;
  std::size_t connections_max_;
  transport_common::WaterMarks marks_;
  std::vector<std::shared_ptr<InprocThread>> threads_;  // constant after construction

  std::mutex mutex_;                        // taken before the registry's lock
  State state_ = State::created;            // guarded by mutex_
  std::vector<InprocListener*> listeners_;  // guarded by mutex_
};

}  // namespace streambus::transport_inproc
