// The vocabulary: one table a kind of word, with number, sentence and remedy.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include "rtloop/core/bind/convert.hpp"
#include "rtloop/core/words.hpp"

namespace rtloop {

void bind_words(nb::module_ &m) {
    using namespace nb::literals;
    const auto text = [](std::string_view s) { return nb::str(s.data(), s.size()); };
    nb::class_<Word>(m, "Word")
        .def_prop_ro("word", [text](const Word &w) { return text(w.word); })
        .def_ro("number", &Word::number)
        .def_prop_ro("sentence", [text](const Word &w) { return text(w.sentence); })
        .def_prop_ro("remedy", [text](const Word &w) { return text(w.remedy); });
    nb::dict words;
    for (const Word &word : kWords) {
        const nb::str table = text(word.table);
        if (!words.contains(table)) words[table] = nb::dict();
        nb::cast<nb::dict>(words[table])[text(word.word)] = word;
    }
    m.attr("WORDS") = words;
}

}  // namespace rtloop
