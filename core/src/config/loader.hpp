#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "document.hpp"
#include "reader.hpp"
#include "sections.hpp"
#include "streambus/config/config.hpp"
#include "streambus/config/topic_settings.hpp"

namespace streambus::config {

/// Turns a document into a BrokerConfig. Goes on after an error, to report them all; used once.
class Loader {
 public:
  Loader(const ConfigSource& source, ConfigOutcome& outcome);

  void run();

 private:
  /// A declared [kind.NAME]; `is_used` where a listener or topic names it. A section whose plugin was refused stays
  /// declared, so that one mistake gives one complaint.
  struct Declared {
    PluginKind kind;
    std::string name;
    std::string plugin;  ///< name or path
    Place place;
    bool is_used = false;
  };

  [[nodiscard]] bool read_document();
  void apply_override(Override change, std::uint32_t source);
  [[nodiscard]] bool set_in_topic(Table& root, const std::vector<std::string>& path, Node value, Place place);
  void check_top_level();
  /// The table of a section; null when it is absent or (complained about) no table.
  [[nodiscard]] const Table* section(std::string_view name);
  [[nodiscard]] SectionScope scope(std::string_view name);

  void read_broker();
  std::vector<std::filesystem::path> read_plugin_dirs(const SectionScope& scope);
  void read_log();
  void read_kind(const KindSection& kind);
  void read_plugin_section(PluginKind kind, const SectionScope& scope, const std::string& name);
  [[nodiscard]] std::vector<PluginSection>& sections_of(PluginKind kind);

  void read_listeners();
  void read_listener(const SectionScope& scope, const std::string& name);
  void read_advertised(const SectionScope& scope, std::string_view advertised, ListenerSection& listener);
  void check_address(const SectionScope& scope, const ListenerSection& listener);
  /// Marks the named transport or protocol as used, declaring it implicitly where it is not declared.
  void use_or_imply(PluginKind kind, const std::string& name, Place place);

  void read_topic_defaults();
  void read_topics();
  void read_topic(const SectionScope& scope, TopicSection& topic);
  void read_settings(const SectionScope& scope, TopicSection& topic, bool with_defaults);
  void read_setting(const SectionScope& scope, const Member& member, TopicSection& topic);
  void use_storage(const std::string& name, Place place, const SectionScope& scope);
  void check_compression_types();
  void warn_of_unused();

  [[nodiscard]] Declared* find_declared(PluginKind kind, std::string_view name);
  [[nodiscard]] std::vector<std::string_view> declared_names(PluginKind kind) const;
  /// Section names are bare TOML keys, at most 60 characters; complains otherwise.
  [[nodiscard]] bool check_name(const Member& member, std::string_view kind);

  const ConfigSource& source_;
  ConfigOutcome& outcome_;
  Diagnostics diagnostics_;
  SectionReader reader_;
  Table document_;
  BrokerConfig config_;
  std::vector<Declared> declared_;
  struct CompressionUse {
    std::string type;
    Place place;
    std::string header;
  };
  std::vector<CompressionUse> compression_;
};

}  // namespace streambus::config
