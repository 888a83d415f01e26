// SPDX-License-Identifier: Apache-2.0
// The small ResNet of the plan tests.
#pragma once

#include <mixprec/models/small_resnet.hpp>

#include "plan_cases.hpp"

namespace mixprec::test {

using SmallResNet = models::SmallResNet<4, 1>;
inline constexpr Shape resnet_input{6, 1, 12, 12};

}  // namespace mixprec::test
