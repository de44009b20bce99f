// PCRE2 behind Regex, and the steps of PreTokenizer.
#include "llm/pretokenizer.h"

#include "base/error.h"
#include "formats/quote.h"
#include "llm/unicode.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>

namespace brisk {

namespace {

constexpr std::string_view space_marker = "\u2581";

/// Calls visit(span) for the alternating well-formed and ill-formed runs of the text.
template <typename Visit>
void for_each_run(std::string_view text, Visit visit) {
  std::uint32_t at = 0;
  const auto size = static_cast<std::uint32_t>(text.size());
  while (at < size) {
    std::uint32_t end = at + static_cast<std::uint32_t>(valid_utf8_prefix(text.substr(at)));
    if (end > at) visit(TextSpan{at, end, true});
    for (at = end; end < size;) {
      const Utf8Char c = decode_utf8(text, end);
      if (c.valid) break;
      end += c.length;
    }
    if (end > at) visit(TextSpan{at, end, false});
    at = end;
  }
}

std::string_view view(std::string_view text, TextSpan span) {
  return text.substr(span.begin, span.end - span.begin);
}

}  // namespace

struct MatchScratch::State {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = nullptr;  // made when the machine's stack does not do
  State() { check(data && context, "memory for matching"); }
  ~State() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    if (stack) pcre2_jit_stack_free(stack);
  }
};

MatchScratch::MatchScratch() : state_(std::make_unique<State>()) {}
MatchScratch::~MatchScratch() = default;

void Regex::Free::operator()(pcre2_real_code_8* code) const { pcre2_code_free(code); }

Regex::Regex(std::string_view regex) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(regex.data()), regex.size(),
                            PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset,
                            nullptr));
  if (!code_) {
    PCRE2_UCHAR message[160] = {};
    pcre2_get_error_message(error, message, sizeof message);
    user_error("tokenizer: the pattern {} is not valid at byte {}: {}", quote(regex), offset,
               reinterpret_cast<const char*>(message));
  }
  // Without JIT support (a failure here) matching is interpreted, with the same results.
  pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);
}

std::string Regex::escape(std::string_view literal) {
  std::string out;
  for (const char c : literal) {
    if (std::string_view("\\^$.[]|()?*+{}#-").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

void Regex::find_all(std::string_view text, MatchScratch& scratch,
                     std::vector<TextSpan>& matches) const {
  MatchScratch::State& state = *scratch.state_;
  const auto subject = reinterpret_cast<PCRE2_SPTR>(text.empty() ? "" : text.data());
  // Steps of backtracking for one match: enough for a few passes over the text, too few for n².
  const std::size_t steps = std::min<std::size_t>(1'000'000 + 8 * text.size(), UINT32_MAX);
  pcre2_set_match_limit(state.context, static_cast<std::uint32_t>(steps));
  for (std::size_t at = 0; at <= text.size();) {
    const auto match = [&](std::uint32_t options) {
      return pcre2_match(code_.get(), subject, text.size(), at, options | PCRE2_NO_UTF_CHECK,
                         state.data, state.context);
    };
    int result = match(0);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT && !state.stack) {
      state.stack = pcre2_jit_stack_create(64 << 10, 32 << 20, nullptr);
      if (state.stack) pcre2_jit_stack_assign(state.context, nullptr, state.stack);
      result = match(0);
    }
    if (result < 0) break;
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(state.data);
    const std::size_t begin = std::max(ends[0], at), end = std::max(ends[1], begin);
    matches.push_back({static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end)});
    at = end;
    if (begin == end) at += end < text.size() ? decode_utf8(text, end).length : 1;
  }
}

std::string Regex::replace(std::string_view text, std::string_view by,
                           MatchScratch& scratch) const {
  std::string out;
  out.reserve(text.size());
  std::vector<TextSpan> matches;
  for_each_run(text, [&](TextSpan span) {
    const std::string_view run = view(text, span);
    matches.clear();
    if (span.well_formed) find_all(run, scratch, matches);
    std::size_t at = 0;
    for (const TextSpan match : matches) {
      out.append(run.substr(at, match.begin - at)).append(by);
      at = match.end;
    }
    out.append(run.substr(at));
  });
  return out;
}

namespace {

using Behavior = PreTokenizeStep::Behavior;

/// Cuts one span at the matches (relative to it) and appends what is left to `out`.
void cut_span(TextSpan span, const std::vector<TextSpan>& matches, Behavior behavior, bool invert,
              std::vector<TextSpan>& out) {
  bool open = false, last_matched = false;  // open: `out` ends with a piece of this span
  const auto add = [&](std::uint32_t begin, std::uint32_t end, bool matched) {
    matched ^= invert;
    const bool joined = behavior == Behavior::contiguous      ? matched == last_matched
                        : behavior == Behavior::with_previous ? matched && !last_matched
                        : behavior == Behavior::with_next     ? !matched && last_matched
                                                              : false;
    if (behavior == Behavior::removed && matched)
      open = false;
    else if (open && joined)
      out.back().end = span.begin + end;
    else if (begin < end)
      out.push_back({span.begin + begin, span.begin + end}), open = true;
    last_matched = matched;
  };
  std::uint32_t at = 0;
  for (const TextSpan match : matches) {
    if (match.begin > at) add(at, match.begin, false);
    if (match.end > match.begin) add(match.begin, match.end, true);
    at = match.end;
  }
  if (span.begin + at < span.end) add(at, span.end - span.begin, false);
}

/// Cuts every match into groups of three characters, counted from its right end.
void group_digits(std::string_view text, std::vector<TextSpan>& matches) {
  std::vector<TextSpan> groups;
  for (const TextSpan match : matches) {
    std::vector<std::uint32_t> starts;
    for (std::uint32_t at = match.begin; at < match.end; at += decode_utf8(text, at).length)
      starts.push_back(at);
    for (std::size_t first = 0, size = (starts.size() + 2) % 3 + 1; first < starts.size();
         first += size, size = 3)
      groups.push_back(
          {starts[first], first + size < starts.size() ? starts[first + size] : match.end});
  }
  matches = std::move(groups);
}

void put_space_first(PreTokenizer::Pieces& pieces) {
  if (pieces.text.empty() || pieces.text[0] == ' ') return;
  pieces.text.insert(0, 1, ' ');
  for (TextSpan& span : pieces.spans) ++span.begin, ++span.end;
  if (pieces.spans.empty()) return;
  if (pieces.spans[0].well_formed)
    pieces.spans[0].begin = 0;
  else
    pieces.spans.insert(pieces.spans.begin(), {0, 1});
}

void mark_spaces(PreTokenizer::Pieces& pieces, const PreTokenizeStep& step, bool at_start) {
  PreTokenizer::Pieces marked;
  marked.text.reserve(pieces.text.size() * 3 / 2);
  for (std::size_t i = 0; i < pieces.spans.size(); ++i) {
    const TextSpan span = pieces.spans[i];
    const std::string_view piece = view(pieces.text, span);
    auto begin = static_cast<std::uint32_t>(marked.text.size());
    const auto close = [&](bool well_formed) {
      const auto end = static_cast<std::uint32_t>(marked.text.size());
      if (end > begin) marked.spans.push_back({begin, end, well_formed});
      begin = end;
    };
    const bool prepend =
        step.prepend == PreTokenizeStep::Prepend::always ||
        (step.prepend == PreTokenizeStep::Prepend::first && at_start && span.begin == 0);
    if (prepend && piece[0] != ' ' && !piece.starts_with(space_marker)) {
      marked.text += space_marker;
      if (!span.well_formed) close(true);
    }
    for (std::size_t at = 0; at < piece.size(); ++at) {
      const bool space = piece[at] == ' ';
      if (step.cut && (space || piece.substr(at).starts_with(space_marker)))
        close(span.well_formed);
      if (space)
        marked.text += space_marker;
      else
        marked.text += piece[at];
    }
    close(span.well_formed);
  }
  pieces = std::move(marked);
}

}  // namespace

PreTokenizer::PreTokenizer(std::vector<PreTokenizeStep> steps) : steps_(std::move(steps)) {
  for (const PreTokenizeStep& step : steps_)
    patterns_.push_back(step.pattern.empty() ? nullptr : std::make_unique<Regex>(step.pattern));
}

PreTokenizer::Pieces PreTokenizer::cut(std::string text, bool at_start,
                                       MatchScratch& scratch) const {
  Pieces pieces{std::move(text), {}};
  for_each_run(pieces.text, [&](TextSpan run) { pieces.spans.push_back(run); });
  std::vector<TextSpan> next, matches;
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    const PreTokenizeStep& step = steps_[i];
    if (step.kind == PreTokenizeStep::Kind::prefix_space) {
      put_space_first(pieces);
    } else if (step.kind == PreTokenizeStep::Kind::metaspace) {
      mark_spaces(pieces, step, at_start);
    } else if (patterns_[i]) {
      next.clear();
      for (const TextSpan span : pieces.spans) {
        if (!span.well_formed) {
          next.push_back(span);
          continue;
        }
        const std::string_view piece = view(pieces.text, span);
        matches.clear();
        patterns_[i]->find_all(piece, scratch, matches);
        if (step.kind == PreTokenizeStep::Kind::digit_groups) group_digits(piece, matches);
        cut_span(span, matches, step.behavior, step.invert, next);
      }
      std::swap(pieces.spans, next);
    }
  }
  return pieces;
}

}  // namespace brisk
