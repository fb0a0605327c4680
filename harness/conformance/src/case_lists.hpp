#pragma once
// The lists that cases_of() is made of, one per file of cases.

#include "streambus/conformance/case.hpp"

namespace streambus::conformance {

[[nodiscard]] std::span<const Case> storage_order_cases();
[[nodiscard]] std::span<const Case> storage_time_cases();
[[nodiscard]] std::span<const Case> storage_retention_cases();
[[nodiscard]] std::span<const Case> storage_life_cases();
[[nodiscard]] std::span<const Case> storage_durability_cases();
[[nodiscard]] std::span<const Case> storage_concurrency_cases();
[[nodiscard]] std::span<const Case> storage_lint_cases();
[[nodiscard]] std::span<const Case> storage_replace_cases();
[[nodiscard]] std::span<const Case> storage_error_cases();
[[nodiscard]] std::span<const Case> storage_crash_cases();
[[nodiscard]] std::span<const Case> storage_corruption_cases();
[[nodiscard]] std::span<const Case> codec_cases();
[[nodiscard]] std::span<const Case> transport_cases();
[[nodiscard]] std::span<const Case> protocol_cases();

}  // namespace streambus::conformance
