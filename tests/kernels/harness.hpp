// SPDX-License-Identifier: Apache-2.0
// What every kernel test needs: guarded buffers in a backend's memory, seeded inputs, and comparisons with an oracle in
// double. A file of cases is included once for each backend, after MIXPREC_TEST_BACKENDS has named it.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <doctest/doctest.h>

#include <mixprec/dtype/dtype.hpp>
#include <mixprec/error.hpp>

/// Names the backend that the cases included after it run on.
#define MIXPREC_TEST_BACKENDS(type) \
  namespace mixprec::test {         \
  namespace {                       \
  using TestBackend = type;         \
  }                                 \
  }

/// A test case on TestBackend; the body sees `stream`. A backend that does not start fails the case: where there is no
/// device, the program's main function has skipped all cases.
#define MIXPREC_KERNEL_TEST(name) MIXPREC_KERNEL_TEST_NAMED(DOCTEST_ANONYMOUS(mixprec_kernel_test_), name)
#define MIXPREC_KERNEL_TEST_NAMED(function, name)                        \
  static void function(TestBackend::Stream& stream);                     \
  TEST_CASE(name) { function(mixprec::test::stream_of<TestBackend>()); } \
  static void function([[maybe_unused]] TestBackend::Stream& stream)

namespace mixprec::test {

/// The backend's stream, shared by all cases of a file. Errors: the backend's.
template <class B>
typename B::Stream& stream_of() {
  static typename B::Stream stream;
  return stream;
}

/// Calls body.operator()<T>() for every floating type that B computes in; double on the CPU only.
template <class B, class Body>
void for_each_dtype(Body const& body) {
  auto const run = [&]<class T>() {
    std::string const dtype = name_of(dtype_of_v<T>);
    INFO("dtype " << dtype);
    body.template operator()<T>();
  };
  if constexpr (std::string_view(B::name) == "cpu") run.template operator()<double>();
  run.template operator()<float>();
  run.template operator()<float16>();
  run.template operator()<bfloat16>();
}

/// `n` elements in B's memory. They start poisoned (all bits set, NaN in every floating type), and bytes behind the
/// last one are checked when the buffer is read.
template <class B, class T>
class Buffer {
 public:
  Buffer(typename B::Stream& stream, std::int64_t n) : stream_(stream), n_(static_cast<std::size_t>(n)) {
    memory_ = static_cast<T*>(B::allocate(stream, bytes() + guard));
    std::vector<unsigned char> const poison(bytes() + guard, 0xff);
    B::copy_from_host(stream, memory_, poison.data(), poison.size());
    B::wait(stream);
  }
  Buffer(typename B::Stream& stream, std::vector<T> const& values)
      : Buffer(stream, static_cast<std::int64_t>(values.size())) {
    B::copy_from_host(stream, memory_, values.data(), bytes());
    B::wait(stream);
  }
  Buffer(Buffer const&) = delete;
  Buffer& operator=(Buffer const&) = delete;
  ~Buffer() { B::release(stream_, memory_); }

  T* get() const { return memory_; }
  operator T*() const { return memory_; }
  std::vector<T> read() const {
    std::vector<unsigned char> host(bytes() + guard);
    B::copy_to_host(stream_, host.data(), memory_, host.size());
    B::wait(stream_);
    bool intact = true;
    for (std::size_t i = bytes(); i < host.size(); ++i) intact = intact && host[i] == 0xff;
    CHECK_MESSAGE(intact, "the kernel wrote behind the end of its result");
    std::vector<T> values(n_);
    if (n_ > 0) std::memcpy(values.data(), host.data(), bytes());
    return values;
  }

 private:
  static constexpr std::size_t guard = 256;
  std::size_t bytes() const { return n_ * sizeof(T); }
  typename B::Stream& stream_;
  std::size_t n_;
  T* memory_;
};

/// Normal values, a fresh set for each seed.
template <class T>
std::vector<T> normal_values(std::int64_t n, unsigned seed, double mean = 0, double deviation = 1) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> distribution(mean, deviation);
  std::vector<T> values(static_cast<std::size_t>(n));
  for (T& value : values) value = convert<T>(distribution(generator));
  return values;
}

/// Relative error of one rounding to T, and of one operation in T's accumulator.
template <class T>
inline constexpr double rounding = float_traits_v<T>.eps;
template <class T>
inline constexpr double arithmetic = float_traits_v<accumulator_t<T>>.eps;

/// Error that a sum of `n` terms in T's accumulator may have, as a factor of the sum of the terms' magnitudes. The
/// roundings are independent, so it grows like the square root of n; the factor leaves any order of summation room.
template <class T>
double sum_error(std::int64_t n) {
  return arithmetic<T> * (4 + 2 * std::sqrt(static_cast<double>(n)));
}

/// Smallest step of T near zero: results below it are rounded to a multiple.
template <class T>
inline constexpr double smallest = float_traits_v<T>.min_subnormal;

/// An oracle's value and the error that the kernel's arithmetic may add before the final rounding.
struct Expected {
  double value;
  double error = 0;
};

/// Every element within one rounding to T plus the expected error; NaN where NaN is expected.
template <class T>
void check_close(std::vector<T> const& actual, std::vector<Expected> const& expected) {
  REQUIRE(actual.size() == expected.size());
  std::size_t wrong = 0, first = 0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    double const got = convert<double>(actual[i]), wanted = expected[i].value;
    double const bound = rounding<T> * std::abs(wanted) + expected[i].error + smallest<T>;
    bool const same = std::isnan(wanted) ? std::isnan(got) : got == wanted || std::abs(got - wanted) <= bound;
    if (!same && wrong++ == 0) first = i;
  }
  CHECK_MESSAGE(wrong == 0, wrong << " of " << actual.size() << " elements differ; element " << first << " is "
                                  << (actual.empty() ? 0.0 : convert<double>(actual[first])) << ", expected "
                                  << (actual.empty() ? 0.0 : expected[first].value) << " +- "
                                  << (actual.empty() ? 0.0 : expected[first].error));
}

/// Equal bits.
template <class T>
void check_same(std::vector<T> const& actual, std::vector<T> const& expected) {
  REQUIRE(actual.size() == expected.size());
  std::size_t wrong = 0, first = 0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    if (std::memcmp(&actual[i], &expected[i], sizeof(T)) != 0 && wrong++ == 0) first = i;
  }
  CHECK_MESSAGE(wrong == 0, wrong << " elements differ, the first at " << first);
}

template <class T>
double at(std::vector<T> const& values, std::int64_t i) {
  return convert<double>(values[static_cast<std::size_t>(i)]);
}

inline std::vector<std::int64_t> odd_sizes() { return {1, 3, 17, 1025, 70003}; }

}  // namespace mixprec::test
