#include "streambus/config/config.hpp"

namespace streambus {

std::string print_config(const ConfigOutcome& outcome) {
  constexpr std::size_t kCommentColumn = 50;
  std::string text;
  for (const ResolvedValue& value : outcome.resolved) {
    if (!value.header.empty()) text += (text.empty() ? "" : "\n") + value.header + "\n";
    std::string line = value.leaf + " = " + value.value;
    if (line.size() < kCommentColumn) line.resize(kCommentColumn, ' ');
    text += line + "  # " + value.origin + "\n";
  }
  return text;
}

}  // namespace streambus
