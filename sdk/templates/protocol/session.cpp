#include "session.hpp"

#include <algorithm>
#include <charconv>
#include <exception>
#include <utility>

#include "records.hpp"
#include "streambus/base/bytes.hpp"

namespace streambus::protocol_acme {
namespace {

/// A text on its way out.
class Text final : public Pin {
 public:
  explicit Text(std::string text) : text_(std::move(text)) {}
  [[nodiscard]] Slice slice() const noexcept { return Slice::memory(as_bytes(text_)); }

 private:
  ~Text() override = default;
  void dispose() noexcept override { delete this; }
  const std::string text_;
};

/// Takes the first word off, with the blank behind it.
std::string_view take_word(std::string_view* line) noexcept {
  const std::string_view word = line->substr(0, line->find(' '));
  line->remove_prefix(std::min(word.size() + 1, line->size()));
  return word;
}

}  // namespace

void LineSession::opened(Connection& connection) noexcept { connection_ = &connection; }

MutableBytes LineSession::receive_buffer() noexcept { return waiting_ ? MutableBytes{} : MutableBytes{chunk_}; }

void LineSession::received(std::size_t bytes) noexcept {
  input_.append(as_text(Bytes(chunk_).first(bytes)));
  answer_lines();
}

void LineSession::answer_lines() noexcept {
  std::size_t done = 0;
  try {
    while (!waiting_ && !draining_) {
      const std::size_t line_end = input_.find('\n', done);
      if (line_end == std::string::npos) break;
      std::string_view line = std::string_view(input_).substr(done, line_end - done);
      if (line.ends_with('\r')) line.remove_suffix(1);
      done = line_end + 1;
      answer(line);
    }
    input_.erase(0, done);
    if (input_.size() <= line_bytes_max_ || waiting_) return;
    fail(ErrorCode::too_large, "expected a line of at most " + std::to_string(line_bytes_max_) + " bytes");
    connection_->close(true);
  } catch (const std::exception& failure) {  // out of memory: nothing else throws here
    host_.log(LogLevel::warning, failure.what());
    connection_->close(false);
  }
}

void LineSession::answer(std::string_view line) {
  std::string_view rest = line;
  const std::string_view command = take_word(&rest);
  const std::string_view topic = take_word(&rest);
  if (command == "PUT" && !topic.empty()) return put(topic, rest);
  if (command == "GET" && !topic.empty()) return get(topic, rest);
  fail(ErrorCode::invalid_argument, "expected 'PUT topic text' or 'GET topic offset'");
}

// ---- PUT

void LineSession::put(std::string_view topic, std::string_view text) {
  error = ErrorCode::ok;
  error_text[0] = '\0';
  // Before the call: completed() may come, on another thread, before produce() has returned.
  waiting_ = true;
  if (produce_text(host_, broker_, topic, text, *this) == ProduceOutcome::pending) return;
  waiting_ = false;
  finish_put();
}

void LineSession::finish_put() {
  if (error == ErrorCode::ok) return reply("OK " + std::to_string(base_offset.value) + "\n");
  fail(error, error_text);
}

void LineSession::completed() noexcept {
  connection_->post([](void* session) noexcept { static_cast<LineSession*>(session)->resume(); }, this);
}

void LineSession::resume() noexcept {
  waiting_ = false;
  if (closed_) {
    connection_->release();
    delete this;
    return;
  }
  try {
    finish_put();
  } catch (const std::exception& failure) {
    host_.log(LogLevel::warning, failure.what());
    return connection_->close(false);
  }
  if (draining_) return connection_->close(true);
  answer_lines();
  if (!waiting_) connection_->resume_reading();
}

// ---- GET

void LineSession::get(std::string_view topic, std::string_view offset) {
  std::int64_t from = -1;
  const auto [stop, wrong] = std::from_chars(offset.data(), offset.data() + offset.size(), from);
  if (wrong != std::errc() || stop != offset.data() + offset.size() || from < 0)
    return fail(ErrorCode::invalid_argument, "expected 'GET topic offset' with an offset from 0 on");
  FoundRecord record;
  if (const Status status = find_record(broker_, topic, Offset{from}, &record); !status.ok())
    return fail(status.code, status.message());
  const std::string at = std::to_string(record.offset.value);
  if (!record.found) return reply("END " + at + "\n");
  reply("MSG " + at + " " + std::to_string(record.value.size()) + "\n" + record.value + "\n");
}

// ---- answers and the end

void LineSession::reply(std::string text) {
  const Ref<Text> answer = Ref<Text>::adopt(new Text(std::move(text)));
  const Slice slice = answer->slice();
  connection_->write({&slice, 1}, answer.get());
}

void LineSession::fail(ErrorCode code, std::string_view text) {
  reply("ERR " + std::string(name_of(code)) + ": " + std::string(text) + "\n");
}

void LineSession::drain() noexcept {
  draining_ = true;
  if (!waiting_) connection_->close(true);
}

void LineSession::closed(const Status& /*reason*/) noexcept {
  closed_ = true;
  if (waiting_) return;  // resume() ends it
  if (connection_ != nullptr) connection_->release();
  delete this;
}

}  // namespace streambus::protocol_acme
