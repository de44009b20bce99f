// UTF-8 decoding of any bytes, normal forms, lower case.
#include "llm/unicode.h"

#include <gtest/gtest.h>

namespace brisk {
namespace {

TEST(Unicode, DecodesTheFirstAndLastCharacterOfEachLength) {
  for (const char32_t code :
       {0x0, 0x7f, 0x80, 0x7ff, 0x800, 0xd7ff, 0xe000, 0xffff, 0x10000, 0x10ffff}) {
    std::string text;
    append_utf8(text, code);
    const Utf8Char c = decode_utf8(text, 0);
    EXPECT_TRUE(c.valid) << static_cast<unsigned>(code);
    EXPECT_TRUE(c.code == code);
    EXPECT_EQ(c.length, static_cast<int>(text.size()));
  }
}

TEST(Unicode, RefusesOverlongFormsSurrogatesAndCodesPastTheEnd) {
  for (const char* text :
       {"\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\x80", "\xff"}) {
    const Utf8Char c = decode_utf8(text, 0);
    EXPECT_FALSE(c.valid);
    EXPECT_FALSE(c.incomplete);
    EXPECT_EQ(c.length, 1);
  }
}

TEST(Unicode, TellsAnUnfinishedCharacterFromAWrongOne) {
  const std::string llama = "🦙";
  for (std::size_t size = 1; size < llama.size(); ++size) {
    const Utf8Char c = decode_utf8(std::string_view(llama).substr(0, size), 0);
    EXPECT_TRUE(c.incomplete);
    EXPECT_EQ(c.length, static_cast<int>(size));
  }
  const Utf8Char wrong = decode_utf8("\xf0\x9fx", 0);
  EXPECT_FALSE(wrong.incomplete);
  EXPECT_EQ(wrong.length, 2);
}

TEST(Unicode, ReplacesEachMaximalSubpart) {
  EXPECT_EQ(replace_invalid_utf8("a\xf0\x9f\x98z"), "a\ufffdz");
  EXPECT_EQ(replace_invalid_utf8("\xc0\xaf"), "\ufffd\ufffd");
  EXPECT_EQ(replace_invalid_utf8("\xe2\x82"), "\ufffd");
  EXPECT_EQ(replace_invalid_utf8("añ漢🦙"), "añ漢🦙");
  EXPECT_EQ(valid_utf8_prefix("añ\xff"), 3u);
}

TEST(Unicode, ComposesAndDecomposes) {
  EXPECT_EQ(unicode_normalize("e\u0301", NormalForm::nfc), "\u00e9");
  EXPECT_EQ(unicode_normalize("\u00e9", NormalForm::nfd), "e\u0301");
  EXPECT_EQ(unicode_normalize("\u1ec7", NormalForm::nfd), "e\u0323\u0302");
  // U+2126 is a singleton: NFC gives the letter omega, never the sign back.
  EXPECT_EQ(unicode_normalize("\u2126", NormalForm::nfc), "\u03a9");
  // U+0958 is excluded from composition.
  EXPECT_EQ(unicode_normalize("\u0958", NormalForm::nfc), "\u0915\u093c");
}

TEST(Unicode, OrdersCombiningCharactersByClassAndKeepsBlockedOnesApart) {
  EXPECT_EQ(unicode_normalize("q\u0307\u0323", NormalForm::nfc), "q\u0323\u0307");
  EXPECT_EQ(unicode_normalize("\u1e0b\u0323", NormalForm::nfc), "\u1e0d\u0307");
  EXPECT_EQ(unicode_normalize("a\u0308\u0301", NormalForm::nfc), "\u00e4\u0301");
  EXPECT_EQ(unicode_normalize("a\u034f\u0301", NormalForm::nfc), "a\u034f\u0301");
}

TEST(Unicode, ComputesHangulSyllables) {
  EXPECT_EQ(unicode_normalize("각", NormalForm::nfd), "\u1100\u1161\u11a8");
  EXPECT_EQ(unicode_normalize("\u1100\u1161\u11a8", NormalForm::nfc), "각");
  EXPECT_EQ(unicode_normalize("가\u11a8", NormalForm::nfc), "각");
}

TEST(Unicode, CompatibilityFormsFoldPresentation) {
  EXPECT_EQ(unicode_normalize("ﬁ①Ａ㎏", NormalForm::nfkc), "fi1Akg");
  EXPECT_EQ(unicode_normalize("ﬁ", NormalForm::nfc), "ﬁ");
  EXPECT_EQ(unicode_normalize("\u1e9b\u0323", NormalForm::nfkd), "s\u0323\u0307");
}

TEST(Unicode, IllFormedBytesStay) {
  EXPECT_EQ(unicode_normalize("e\u0301\xff\xe2\x82", NormalForm::nfc), "\u00e9\xff\xe2\x82");
  EXPECT_EQ(unicode_lower("\xc0Ä"), "\xc0ä");
}

TEST(Unicode, LowersCharacterByCharacter) {
  EXPECT_EQ(unicode_lower("HÉLLO ΑΣ ДЖ Ǆ"), "héllo ασ дж ǆ");
  EXPECT_EQ(unicode_lower("\u0130"), "i\u0307");
  EXPECT_EQ(unicode_lower("ß漢1"), "ß漢1");
}

}  // namespace
}  // namespace brisk
