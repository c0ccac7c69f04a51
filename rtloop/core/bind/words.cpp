// The vocabulary as plain rows: rtloop/core/__init__.py makes tables of them.
#include <nanobind/nanobind.h>

#include <string_view>

#include "rtloop/core/bind/convert.hpp"
#include "rtloop/core/words.hpp"

namespace rtloop {

void bind_words(nb::module_ &m) {
    const auto text = [](std::string_view s) { return nb::str(s.data(), s.size()); };
    nb::list rows;
    for (const Word &w : kWords) {
        rows.append(nb::make_tuple(text(w.table), text(w.word), w.number, text(w.sentence),
                                   text(w.remedy)));
    }
    m.attr("WORD_ROWS") = rows;
}

}  // namespace rtloop
