// A program with a broker inside: starts it from a TOML file, talks to it without a socket, and stops it.

#include <cstdio>
#include <string>

#include "streambus/broker/runtime.hpp"
#include "streambus/client/admin.hpp"
#include "streambus/client/consumer.hpp"
#include "streambus/client/producer.hpp"

namespace {

using namespace streambus;

Result<std::unique_ptr<Runtime>> start_broker(const char* file) {
  STREAMBUS_TRY_ASSIGN(ConfigSource source, read_config_file(file));
  source.plugin_dirs = {PLUGIN_DIR};
  ConfigOutcome outcome = load_config(source);
  for (const Diagnostic& diagnostic : outcome.diagnostics) std::fprintf(stderr, "%s\n", diagnostic.text.c_str());
  return Runtime::start(std::move(outcome));
}

Result<> talk(std::shared_ptr<client::ClientContext> context) {
  client::Admin admin(context);
  if (const auto created = admin.create_topic({.name = "notes"});
      !created && created.error().code != ErrorCode::already_exists) {
    return std::unexpected(created.error());
  }
  STREAMBUS_TRY_ASSIGN(client::Producer producer, client::Producer::create(context, {}));
  for (const char* text : {"one", "two", "three"}) {
    STREAMBUS_TRY(producer.send({.topic = "notes", .key = {}, .value = as_bytes(text), .headers = {}}));
  }
  STREAMBUS_TRY(producer.close(10'000));  // waits until all are on the disk

  STREAMBUS_TRY_ASSIGN(client::Consumer consumer, client::Consumer::create(context));
  STREAMBUS_TRY(consumer.assign({{"notes", 0, {}}}));
  for (int seen = 0; seen < 3;) {
    STREAMBUS_TRY_ASSIGN(const auto batches, consumer.poll(10'000));
    if (batches.empty()) return fail(ErrorCode::timeout, "no record within 10 s");
    for (const client::ConsumedBatch& batch : batches) {
      auto cursor = batch.records();
      for (client::ConsumedRecord record; cursor.next(record); ++seen) {
        std::printf("%lld %s\n", static_cast<long long>(record.offset.value), std::string(as_text(record.value)).c_str());
      }
    }
  }
  return {};
}

Result<> run(const char* file) {
  STREAMBUS_TRY_ASSIGN(const std::unique_ptr<Runtime> broker, start_broker(file));
  client::ClientSettings settings;
  settings.bootstrap = "inproc:" + broker->listeners().front().address;
  client::ClientContext::HostSettings host;
  host.plugin_dirs = {PLUGIN_DIR};
  STREAMBUS_TRY_ASSIGN(auto context, client::ClientContext::create(settings, host));
  return talk(std::move(context));  // the client is gone before the broker stops
}

}  // namespace

int main(int argc, char** argv) {
  const Result<> outcome = run(argc > 1 ? argv[1] : "embedded.toml");
  if (!outcome) std::fprintf(stderr, "embedded: %s\n", outcome.error().message.c_str());
  return outcome ? 0 : 1;
}
