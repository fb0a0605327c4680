#include "connection.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace streambus::transport_inproc {

namespace {

// One connection's turn on its thread: when it is over, the others come first.
constexpr std::uint64_t kReadTurnBytes = 1U << 20;

Status file_ended(const Slice& slice) {
  return {ErrorCode::corrupt, fmt::format("a file ends at byte {}, {} bytes before the range that was to be sent ends",
                                          slice.file_position, slice.bytes)};
}

}  // namespace

InprocConnection::InprocConnection(const std::shared_ptr<InprocThread>& thread, const transport_common::WaterMarks& marks,
                                   std::shared_ptr<transport_common::AcceptGroup> group, std::string peer,
                                   std::shared_ptr<Pipe> in, std::shared_ptr<Pipe> out)
    : ConnectionBase(thread, marks, std::move(group), std::move(peer)),
      own_thread_(*thread),
      in_(std::move(in)),
      out_(std::move(out)) {}

void InprocConnection::join(InprocConnection& a, InprocConnection& b) noexcept {
  a.other_ = Ref<InprocConnection>::share(&b);
  b.other_ = Ref<InprocConnection>::share(&a);
}

void InprocConnection::serve(Session* session) noexcept {
  own_thread_.add(*this);
  if (session == nullptr) return close(false);
  attach(session);
}

void InprocConnection::refuse(Session& session, const Status& reason) noexcept {
  own_thread_.add(*this);
  expect(&session);
  abort(reason);
}

void InprocConnection::write(std::span<const Slice> slices, Pin* keep) noexcept {
  if (!is_open()) return;
  const std::uint64_t queued = out_->write(slices, keep);
  if (queued == 0) return;
  tell_other_ = true;
  note_queued(queued);
}

bool InprocConnection::has_input() noexcept {
  if (!incoming_.empty()) return true;
  const PipeEnd end = in_->take(incoming_);
  if (!incoming_.empty()) return true;
  if (end != PipeEnd::open) request_close(Closing::flush, {});
  return false;
}

void InprocConnection::continue_reading() noexcept {
  // Seen also by a session that takes no input: its side lets go of the pins.
  if (in_->is_broken()) return abort({ErrorCode::closed, "the other side closed before everything was read"});
  std::uint64_t left = kReadTurnBytes;
  while (wants_input() && has_input()) {
    const MutableBytes buffer = ask_for_buffer();
    if (buffer.empty()) return;
    const std::size_t copied = copy_to(buffer);
    if (copied == 0) return;  // a file range could not be read: the connection is being closed
    const std::uint64_t before = in_->read(copied);
    const std::uint64_t low = other_->marks().low;
    if (before == copied || (before > low && before - copied <= low)) tell_other_ = true;
    session()->received(copied);
    if (copied >= left) return touch();  // the others come first
    left -= copied;
  }
}

std::size_t InprocConnection::copy_to(MutableBytes buffer) noexcept {
  std::size_t done = 0;
  while (done < buffer.size() && !incoming_.empty()) {
    const Slice& slice = incoming_.front();
    std::size_t count = std::min<std::uint64_t>(slice.bytes, buffer.size() - done);
    if (slice.is_file()) {
      const ssize_t got = ::pread(slice.fd, buffer.data() + done, count, static_cast<off_t>(slice.file_position));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) {
        in_->read(done);
        abort(got < 0 ? errno_status("cannot read a file range that was to be sent", errno) : file_ended(slice));
        return 0;
      }
      count = static_cast<std::size_t>(got);
    } else {
      std::memcpy(buffer.data() + done, slice.data, count);
    }
    done += count;
    incoming_.consume(count);
  }
  return done;
}

void InprocConnection::settled() noexcept {
  if (!std::exchange(tell_other_, false) || !other_) return;
  other_->notify(own_thread_);
  if (is_closed()) other_.reset();
}

void InprocConnection::notify(const InprocThread& from) noexcept {
  if (&from == &own_thread_) {
    if (is_open()) touch();
    return;
  }
  if (notified_.exchange(true, std::memory_order_acq_rel)) return;
  add_ref();
  own_thread_.post([](void* self) noexcept { static_cast<InprocConnection*>(self)->on_notified(); }, this);
}

void InprocConnection::on_notified() noexcept {
  notified_.store(false, std::memory_order_release);
  if (is_open()) touch();
  release();
}

void InprocConnection::release_io(bool /*flushed*/) noexcept {
  out_->end(out_->bytes() == 0 ? PipeEnd::finished : PipeEnd::broken);
  in_->end(PipeEnd::broken);  // what the other end wrote and still writes nobody will read
  in_->read(incoming_.bytes());
  incoming_.clear();
  tell_other_ = true;
  own_thread_.remove(*this);
  release();
}

}  // namespace streambus::transport_inproc
