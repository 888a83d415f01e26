// SPDX-License-Identifier: Apache-2.0
// Whether a text, an error's message for example, has a part.
#pragma once

#include <string>

namespace mixprec::test {

inline bool has(std::string const& text, std::string const& part) { return text.find(part) != std::string::npos; }

}  // namespace mixprec::test
