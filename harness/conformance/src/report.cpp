// What a check prints and writes.

#include <ctime>
#include <nlohmann/json.hpp>

#include "streambus/conformance/check.hpp"
#include "streambus/conformance/storage_host.hpp"

namespace streambus::conformance {
namespace {

using Json = nlohmann::ordered_json;

/// The lines of a text, each behind a margin.
std::string indented(std::string_view text, std::string_view margin) {
  std::string out;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    out += fmt::format("{}{}\n", margin, text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
  }
  return out;
}

std::string xml(std::string_view text) {
  std::string out;
  for (const char one : text) {
    switch (one) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        // XML 1.0 has no other control characters than these.
        out += static_cast<unsigned char>(one) < 0x20 && one != '\n' && one != '\t' ? '?' : one;
    }
  }
  return out;
}

std::string now_text() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

std::string explanation_of(const CaseResult& result) {
  std::string text = result.message;
  if (!result.where.empty()) text += "\nwhere: " + result.where;
  text += "\nreplay: " + result.replay;
  if (!result.output.empty()) text += "\noutput:\n" + result.output;
  return text;
}

}  // namespace

std::string text_of(const CaseResult& result) {
  constexpr std::string_view kMarks[] = {"ok", "FAIL", "skip"};
  const std::string_view mark = kMarks[static_cast<std::size_t>(result.outcome)];
  if (result.outcome == Outcome::passed) return fmt::format("{:<4}  {:<34} {:>7.2f} s\n", mark, result.id, result.seconds);
  if (result.outcome == Outcome::skipped) return fmt::format("{:<4}  {:<34} {}\n", mark, result.id, result.message);
  return fmt::format("{:<4}  {:<34} {:>7.2f} s\n      contract: {}\n{}", mark, result.id, result.seconds, result.contract,
                     indented(explanation_of(result), "      "));
}

std::string summary_of(const CheckRequest& request, const CheckResult& result) {
  std::string text =
      fmt::format("{} {}: {} passed, {} failed, {} skipped at level {} with seed {} in {:.1f} s\n", request.file.stamp.name,
                  request.file.stamp.version, result.count(Outcome::passed), result.count(Outcome::failed),
                  result.count(Outcome::skipped), name_of(request.level), request.seed, result.seconds);
  if (static_cast<PluginKind>(request.file.stamp.kind) == PluginKind::storage) {
    text += result.durability_verified ? fmt::format("durability verified: class {}\n", name_of(result.traits.durability))
                                       : fmt::format("durability unverified (class {}): {}\n",
                                                     name_of(result.traits.durability), result.durability_reason);
  }
  return text;
}

std::string certificate_of(const CheckRequest& request, const CheckResult& result, std::string_view program_version) {
  const AbiStamp& stamp = request.file.stamp;
  Json json = {{"certificate", 1},
               {"plugin",
                {{"name", stamp.name},
                 {"version", stamp.version},
                 {"kind", std::string(name_of(static_cast<PluginKind>(stamp.kind)))},
                 {"build_id", result.traits.build_id},
                 {"compiler", stamp.compiler},
                 {"headers", stamp.api_hash},
                 {"file", request.file.path.string()}}},
               {"checked_by", std::string(program_version)},
               {"time", now_text()},
               {"level", std::string(name_of(request.level))},
               {"seed", request.seed},
               {"options", Json::object()},
               {"only", request.only},
               {"result", result.passed() ? "passed" : "failed"}};
  for (const auto& [key, value] : request.options) json["options"][key] = value;
  if (static_cast<PluginKind>(stamp.kind) == PluginKind::storage) {
    json["durability"] = {{"class", std::string(name_of(result.traits.durability))}, {"verified", result.durability_verified}};
    if (!result.durability_verified) json["durability"]["reason"] = result.durability_reason;
  }
  json["counts"] = {{"passed", result.count(Outcome::passed)},
                    {"failed", result.count(Outcome::failed)},
                    {"skipped", result.count(Outcome::skipped)}};
  json["seconds"] = result.seconds;
  json["cases"] = Json::array();
  for (const CaseResult& one : result.cases) {
    Json row = {
        {"id", one.id}, {"contract", one.contract}, {"outcome", std::string(name_of(one.outcome))}, {"seconds", one.seconds}};
    if (!one.message.empty()) row["message"] = one.message;
    if (one.outcome == Outcome::failed) row.update({{"where", one.where}, {"replay", one.replay}, {"output", one.output}});
    json["cases"].push_back(std::move(row));
  }
  // What a broken plugin printed need not be UTF-8.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string junit_of(const CheckRequest& request, const CheckResult& result) {
  std::string text = fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" "
      "time=\"{:.3f}\">\n",
      xml(request.file.stamp.name), result.cases.size(), result.count(Outcome::failed), result.count(Outcome::skipped),
      result.seconds);
  for (const CaseResult& one : result.cases) {
    text += fmt::format("  <testcase classname=\"{}\" name=\"{}\" time=\"{:.3f}\"", xml(request.file.stamp.name), xml(one.id),
                        one.seconds);
    switch (one.outcome) {
      case Outcome::passed:
        text += "/>\n";
        break;
      case Outcome::skipped:
        text += fmt::format("><skipped message=\"{}\"/></testcase>\n", xml(one.message));
        break;
      case Outcome::failed:
        text += fmt::format("><failure message=\"{}\">{}</failure></testcase>\n", xml(one.message),
                            xml(fmt::format("contract: {}\n{}", one.contract, explanation_of(one))));
    }
  }
  return text + "</testsuite>\n";
}

}  // namespace streambus::conformance
