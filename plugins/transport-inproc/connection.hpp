#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "inproc_thread.hpp"
#include "pipe.hpp"
#include "transport-common/connection_base.hpp"

namespace streambus::transport_inproc {

/// One end of a connection inside the process. The two ends share two pipes and wake each other's threads.
class InprocConnection final : public transport_common::ConnectionBase {
 public:
  InprocConnection(const std::shared_ptr<InprocThread>& thread, const transport_common::WaterMarks& marks,
                   std::shared_ptr<transport_common::AcceptGroup> group, std::string peer, std::shared_ptr<Pipe> in,
                   std::shared_ptr<Pipe> out);

  /// Makes two ends know each other, before either is in use.
  static void join(InprocConnection& a, InprocConnection& b) noexcept;

  /// Serves the connection with the session (null: refused). On the thread.
  void serve(Session* session) noexcept;
  /// Tells the session that there will be no connection. On the thread.
  void refuse(Session& session, const Status& reason) noexcept;

  // Connection
  void write(std::span<const Slice> slices, Pin* keep) noexcept override;
  [[nodiscard]] std::uint64_t queued_bytes() const noexcept override { return out_->bytes(); }

 private:
  ~InprocConnection() override = default;

  // ConnectionBase
  void dispose() noexcept override { delete this; }
  void flush_output() noexcept override {}  // what is written is in the pipe
  void continue_reading() noexcept override;
  void release_io(bool flushed) noexcept override;
  void settled() noexcept override;

  [[nodiscard]] bool has_input() noexcept;
  [[nodiscard]] std::size_t copy_to(MutableBytes buffer) noexcept;
  /// The other end, on the thread `from`, did something.
  void notify(const InprocThread& from) noexcept;
  void on_notified() noexcept;

  InprocThread& own_thread_;
  const std::shared_ptr<Pipe> in_;
  const std::shared_ptr<Pipe> out_;
  Ref<InprocConnection> other_;  // until this end is closed
  std::atomic<bool> notified_{false};

  // Used by the thread alone.
  transport_common::SliceQueue incoming_;  // taken from in_
  bool tell_other_ = false;
};

}  // namespace streambus::transport_inproc
