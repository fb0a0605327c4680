#include "plugin_new.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>

#include "plugin_templates.hpp"
#include "temporary_directory.hpp"

namespace streambus::command {
namespace {

namespace fs = std::filesystem;

std::string text_of(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

TEST(PluginNew, NamesFollowTheKind) {
  const auto plugin = name_plugin("my-store", "storage");
  ASSERT_TRUE(plugin);
  EXPECT_EQ(plugin->name, "my-store");
  EXPECT_EQ(plugin->full, "storage-my-store");
  EXPECT_EQ(plugin->ident, "my_store");
  EXPECT_EQ(name_plugin("storage-my-store", "storage")->full, "storage-my-store") << "the kind may stand in front";
  EXPECT_EQ(name_plugin("storage", "codec")->full, "codec-storage");
}

TEST(PluginNew, WrongNamesAreRefused) {
  for (const char* const name : {"", "-", "9a", "a_b", "a/b", "..", "a--b", "a-", "-a", "storage-", "a b", "\xc3\xa4"}) {
    const auto plugin = name_plugin(name, "storage");
    ASSERT_FALSE(plugin) << name;
    EXPECT_EQ(plugin.error().code, ErrorCode::invalid_argument);
    EXPECT_NE(plugin.error().message.find(std::string("found '") + name + "'"), std::string::npos) << plugin.error().message;
  }
  EXPECT_FALSE(name_plugin("acme", "queue"));
  // The stamp has room for 39 characters.
  EXPECT_EQ(name_plugin(std::string(31, 'x'), "storage")->full.size(), 39U);
  EXPECT_FALSE(name_plugin(std::string(32, 'x'), "storage"));
}

TEST(PluginNew, TheNameIsPutInOnceEvenWhereItHoldsThePlaceholder) {
  const auto plugin = name_plugin("acme-acme", "codec");
  ASSERT_TRUE(plugin);
  EXPECT_EQ(fill_template("codec-acme codec_acme [codec.acme] \"/path/to/codec-acme/build\"", *plugin, "/tmp/acme"),
            "codec-acme-acme codec_acme_acme [codec.acme-acme] \"/tmp/acme/build\"");
}

TEST(PluginNew, EveryKindHasAProjectOfItsOwn) {
  for (const char* const kind : {"storage", "codec", "transport", "protocol"}) {
    const test::TemporaryDirectory directory;
    const auto plugin = name_plugin("mine", kind);
    const auto files = write_plugin(*plugin, directory.path() / "deep/inside");
    ASSERT_TRUE(files) << files.error().message;
    const std::set<std::string> names(files->begin(), files->end());
    for (const char* const expected : {"CMakeLists.txt", "README.md", "broker.toml", "plugin.cpp", ".gitignore"})
      EXPECT_TRUE(names.contains(expected)) << kind << ": " << expected;
    for (const std::string& name : *files) {
      const std::string text = text_of(directory.path() / "deep/inside" / name);
      EXPECT_FALSE(text.empty()) << name;
      EXPECT_EQ(text.find("acme"), std::string::npos) << name;
      for (const char control : {'\x01', '\x02', '\x03'}) EXPECT_EQ(text.find(control), std::string::npos) << name;
    }
    EXPECT_NE(text_of(directory.path() / "deep/inside/CMakeLists.txt").find("streambus_add_plugin(" + plugin->full),
              std::string::npos);
  }
}

TEST(PluginNew, TheTemplatesAreTheFilesOfTheTree) {
  std::size_t count = 0;
  for (const TemplateFile& file : plugin_templates()) {
    EXPECT_EQ(file.text, text_of(fs::path(STREAMBUS_TEST_SOURCE_DIR) / "sdk/templates" / file.kind / file.path)) << file.path;
    ++count;
  }
  EXPECT_GT(count, 30U);
}

TEST(PluginNew, NothingIsOverwritten) {
  const test::TemporaryDirectory directory;
  const auto files = write_plugin(*name_plugin("mine", "codec"), directory.path());
  ASSERT_FALSE(files);
  EXPECT_EQ(files.error().code, ErrorCode::already_exists);
  EXPECT_TRUE(fs::is_empty(directory.path()));
  std::ofstream(directory.path() / "file") << "precious";
  const auto below = write_plugin(*name_plugin("mine", "codec"), directory.path() / "file/below");
  ASSERT_FALSE(below);
  EXPECT_EQ(text_of(directory.path() / "file"), "precious");
}

}  // namespace
}  // namespace streambus::command
