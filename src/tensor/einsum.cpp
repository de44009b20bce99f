// einsum: each operand's letters become axes in one order, letters that occur once are summed away
// first, and operands are contracted from left to right, keeping the letters that are still wanted.
#include <algorithm>
#include <map>

#include "brisk/functions.h"
#include "tensor/autocast.h"
#include "tensor/contract.h"

namespace brisk {

namespace {

using Letters =
    std::string;  // one char an axis; '\1', '\2', … are axes of "...", counted from the end

bool holds(const Letters& letters, char letter) { return letters.find(letter) != Letters::npos; }

// One operand's letters with "..." spelt out over `extra` axes.
Letters spelt(const std::string& text, int extra, const std::string& equation) {
  Letters letters;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == ' ') continue;
    if (text.compare(i, 3, "...") == 0) {
      for (int axis = extra; axis > 0; --axis) letters += static_cast<char>(axis);
      i += 2;
    } else if (std::isalpha(static_cast<unsigned char>(text[i])) != 0) {
      letters += text[i];
    } else {
      call_error("'{}' holds '{}': wants letters, commas, '...' and '->'", equation, text[i]);
    }
  }
  return letters;
}

struct Term {
  Node node;
  Letters letters;
};

// A letter that repeats takes the diagonal.
Term without_repeats(Term term) {
  for (std::size_t i = 0; i < term.letters.size(); ++i) {
    const std::size_t other = term.letters.find(term.letters[i], i + 1);
    if (other == Letters::npos) continue;
    const Tensor diagonal =
        brisk::diagonal(tensor_of(term.node), 0, static_cast<int>(i), static_cast<int>(other));
    const char letter = term.letters[i];
    term.letters.erase(other, 1);
    term.letters.erase(i, 1);
    term.letters += letter;
    term.node = node_of(diagonal);
    return without_repeats(std::move(term));
  }
  return term;
}

// The term with its axes in the order of `letters`, size 1 where it has none.
Node arranged(const Term& term, const Letters& letters) {
  std::vector<int> order;
  Shape shape;
  for (const char letter : letters) {
    const std::size_t at = term.letters.find(letter);
    if (at != Letters::npos) order.push_back(static_cast<int>(at));
    shape.push_back(at == Letters::npos ? Size(1) : term.node.shape()[at]);
  }
  return reshape(permute(term.node, std::move(order)), std::move(shape));
}

Term summed(const Term& term, const Letters& wanted) {
  std::vector<int> over;
  Letters left;
  for (std::size_t i = 0; i < term.letters.size(); ++i) {
    if (holds(wanted, term.letters[i])) {
      left += term.letters[i];
    } else {
      over.push_back(static_cast<int>(i));
    }
  }
  if (over.empty()) return term;
  const Node wide = cast(term.node, product_dtype(term.node.dtype()));
  return {reduce_axes(ReduceOp::add, wide, over, false), left};
}

// Axes: shared and wanted, the left's own, the right's own, shared and summed over.
Term contracted(const Term& a, const Term& b, const Letters& wanted) {
  Letters shared;
  Letters left;
  Letters right;
  Letters inner;
  for (const char letter : a.letters) {
    if (!holds(b.letters, letter)) {
      left += letter;
    } else {
      (holds(wanted, letter) ? shared : inner) += letter;
    }
  }
  for (const char letter : b.letters) {
    if (!holds(a.letters, letter)) right += letter;
  }
  const Letters kept = shared + left + right;
  std::vector<int> over;
  over.reserve(inner.size());
  for (std::size_t i = 0; i < inner.size(); ++i) over.push_back(static_cast<int>(kept.size() + i));
  return {contract(arranged(a, kept + inner), arranged(b, kept + inner), over), kept};
}

}  // namespace

Tensor einsum(const std::string& equation, const std::vector<Tensor>& operands) {
  const Call call("einsum");
  const std::size_t arrow = equation.find("->");
  std::vector<std::string> texts(1);
  for (const char c : equation.substr(0, arrow)) {
    if (c == ',') {
      texts.emplace_back();
    } else {
      texts.back() += c;
    }
  }
  if (operands.empty() || texts.size() != operands.size()) {
    call_error("'{}' names {} operands, got {}", equation, texts.size(), operands.size());
  }
  DType dtype = DType::none;
  for (const Tensor& operand : operands) {
    want_defined(operand, "an operand");
    dtype = dtype == DType::none ? operand.dtype() : promote(dtype, operand.dtype());
  }
  dtype = product_operands(dtype);
  std::vector<Term> terms;
  std::map<char, Size> sizes;
  std::map<char, int> uses;
  int most_extra = 0;
  for (std::size_t i = 0; i < operands.size(); ++i) {
    const Node node = to_dtype(node_of(operands[i]), dtype);
    const int named = static_cast<int>(spelt(texts[i], 0, equation).size());
    const bool open = texts[i].find("...") != std::string::npos;
    const int extra = node.rank() - named;
    if (extra < 0 || (extra > 0 && !open)) {
      call_error("'{}' names {} axes of operand {}, whose shape is {}", equation, named, i,
                 to_string(node.shape()));
    }
    most_extra = std::max(most_extra, extra);
    const Letters letters = spelt(texts[i], extra, equation);
    for (std::size_t axis = 0; axis < letters.size(); ++axis) {
      const Size& size = node.shape()[axis];
      const auto [at, fresh] = sizes.emplace(letters[axis], size);
      if (!fresh && at->second == Size(1)) at->second = size;
      if (at->second != size && size != Size(1)) {
        call_error("'{}' gives '{}' the sizes {} and {}", equation, letters[axis],
                   to_string(at->second), to_string(size));
      }
      ++uses[letters[axis]];
    }
    terms.push_back({node, letters});
  }
  Letters output;
  if (arrow == std::string::npos) {  // "..." first, then every letter that occurs once
    for (int axis = most_extra; axis > 0; --axis) output += static_cast<char>(axis);
    for (const auto& [letter, count] : uses) {
      if (count == 1 && std::isalpha(static_cast<unsigned char>(letter)) != 0) output += letter;
    }
  } else {
    output = spelt(equation.substr(arrow + 2), most_extra, equation);
  }
  for (std::size_t i = 0; i < output.size(); ++i) {
    if (sizes.count(output[i]) == 0 || holds(output.substr(i + 1), output[i])) {
      call_error("'{}' wants '{}' in the output {}", equation, output[i],
                 sizes.count(output[i]) == 0 ? "but no operand has it" : "twice");
    }
  }
  // Axes that a letter's broadcasting stretches.
  for (Term& term : terms) {
    Shape shape;
    for (const char letter : term.letters) shape.push_back(sizes.at(letter));
    term = without_repeats({expand(term.node, shape), term.letters});
  }
  Term result;
  for (std::size_t i = 0; i < terms.size(); ++i) {
    Letters wanted = output;  // and what operands to come share
    for (std::size_t later = i + 1; later < terms.size(); ++later) wanted += terms[later].letters;
    const Letters outside = result.node ? wanted + result.letters : wanted;
    const Term term = summed(terms[i], outside);
    result = result.node ? contracted(result, term, wanted) : term;
    result = summed(result, wanted);
    result.node = cast(result.node, i + 1 == terms.size() ? dtype : product_dtype(dtype));
  }
  return tensor_of(arranged(result, output));
}

}  // namespace brisk
