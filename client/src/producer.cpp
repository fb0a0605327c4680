#include "streambus/client/producer.hpp"

#include <fmt/format.h>

#include <random>
#include <thread>

#include "accumulator.hpp"
#include "context_state.hpp"
#include "sender.hpp"

namespace streambus::client {

/// Members in order of construction; the sender's last reference may go on the loop's thread.
class Producer::Core {
 public:
  Core(std::shared_ptr<ClientContext> context, const ProducerSettings& settings, const Codec* codec, BatchCallback on_batch)
      : context_(std::move(context)),
        settings_(settings),
        accumulator_(
            settings_, context_->buffers(), steady_clock(),
            {.kick = [this] { kick(); },
             .want_topic =
                 [this](ProduceTopic& topic) { loop().post([sender = sender_, &topic] { sender->want_topic(topic); }); },
             .may_block = [this] { return !loop().in_loop(); }},
            std::random_device{}()),
        sender_(std::make_shared<Sender>(*context_->state().cluster, context_->buffers(), settings_, accumulator_, codec,
                                         std::move(on_batch), std::random_device{}())) {}
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;
  ~Core() { shut_down(); }

  [[nodiscard]] Accumulator& accumulator() noexcept { return accumulator_; }

  Result<> close(std::int64_t timeout_ms) {
    accumulator_.close();
    const Result<> flushed = accumulator_.flush(timeout_ms);
    shut_down();
    return flushed;
  }

  [[nodiscard]] ProducerStatistics statistics() {
    ProducerStatistics result;
    loop().run([&] { result = sender_->statistics(); });
    result.records_accepted = accumulator_.accepted();
    result.buffered_bytes = accumulator_.buffered_bytes();
    return result;
  }

 private:
  [[nodiscard]] EventLoop& loop() noexcept { return *context_->state().loop; }

  void kick() {
    if (kicked_.exchange(true, std::memory_order_acq_rel)) return;
    loop().post([this, sender = sender_] {
      kicked_.store(false, std::memory_order_release);
      sender->run();
    });
  }

  void shut_down() {
    accumulator_.close();
    // Waits until the loop is through with everything that was posted for this producer, this object included.
    loop().run([this] { sender_->shut_down(); });
  }

  std::shared_ptr<ClientContext> context_;
  const ProducerSettings settings_;
  std::atomic<bool> kicked_{false};
  Accumulator accumulator_;
  std::shared_ptr<Sender> sender_;
};

Result<Producer> Producer::create(std::shared_ptr<ClientContext> context, ProducerSettings settings, BatchCallback on_batch) {
  STREAMBUS_TRY(settings.check());
  const Codec* codec = nullptr;
  if (settings.compression != "none") {
    codec = context->codecs().by_type(settings.compression);
    if (codec == nullptr) {
      return fail(
          ErrorCode::unsupported_compression,
          fmt::format("no codec plugin offers '{}'; see 'streambus plugin list' for those found", settings.compression));
    }
  }
  return Producer(std::make_shared<Core>(std::move(context), settings, codec, std::move(on_batch)));
}

Producer::Producer(std::shared_ptr<Core> core) noexcept : core_(std::move(core)) {}
Producer::Producer(Producer&&) noexcept = default;
Producer& Producer::operator=(Producer&&) noexcept = default;
Producer::~Producer() = default;

Result<> Producer::send(const ProducerRecord& record, DeliveryCallback callback) {
  return core_->accumulator().append(record, std::move(callback));
}

std::future<DeliveryReport> Producer::send_future(const ProducerRecord& record) {
  auto promise = std::make_shared<std::promise<DeliveryReport>>();
  auto future = promise->get_future();
  if (const auto sent = send(record, [promise](const DeliveryReport& report) { promise->set_value(report); }); !sent) {
    DeliveryReport report;
    report.outcome = sent;
    promise->set_value(std::move(report));
  }
  return future;
}

Result<> Producer::send_batch(std::string_view topic, PartitionId partition, SharedSlice batch, DeliveryCallback callback) {
  return core_->accumulator().append_encoded(topic, partition, std::move(batch), std::move(callback));
}

Result<> Producer::flush(std::int64_t timeout_ms) { return core_->accumulator().flush(timeout_ms); }

Result<> Producer::close(std::int64_t timeout_ms) { return core_->close(timeout_ms); }

ProducerStatistics Producer::statistics() const { return core_->statistics(); }

}  // namespace streambus::client
