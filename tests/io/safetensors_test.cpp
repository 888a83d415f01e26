// SPDX-License-Identifier: Apache-2.0
// The safetensors reader and writer: everything that is written comes back, and no damaged file is believed.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <random>

#include <mixprec/io/safetensors.hpp>

#include "../has.hpp"
#include "../skip.hpp"
#include "temporary_directory.hpp"

namespace mp = mixprec;
using mp::test::has;

namespace {

std::string file_of(std::string const& header, std::size_t data_bytes) {
  std::string text(8, '\0');
  std::uint64_t const length = header.size();
  std::memcpy(text.data(), &length, 8);
  return text + header + std::string(data_bytes, '\x2a');
}

std::string problem_of(TemporaryDirectory const& directory, std::string const& content) {
  std::string const path = directory.put("weights.safetensors", content);
  return message_of<mp::Error>([&] { mp::SafetensorsFile file(path); });
}

std::vector<std::byte> random_bytes(std::size_t count, std::mt19937_64& random) {
  std::vector<std::byte> bytes(count);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

std::vector<float> floats_of(mp::SafetensorsTensor const& tensor) {
  std::vector<float> values(tensor.bytes.size() / sizeof(float));
  std::memcpy(values.data(), tensor.bytes.data(), values.size() * sizeof(float));
  return values;
}

}  // namespace

TEST_CASE("safetensors: tensors of every dtype, empty ones, scalars, names and metadata come back bit for bit") {
  TemporaryDirectory const directory;
  std::mt19937_64 random(424242);
  std::vector<std::vector<std::byte>> storage;
  std::vector<mp::SafetensorsEntry> entries;
  auto const add = [&](std::string name, mp::DType dtype, std::vector<std::int64_t> shape) {
    std::size_t count = 1;
    for (auto const extent : shape) count *= static_cast<std::size_t>(extent);
    storage.push_back(random_bytes(count * mp::size_of(dtype), random));
    entries.push_back({std::move(name), dtype, std::move(shape), storage.back()});
  };
  for (int dtype = 0; dtype < 7; ++dtype) {
    std::string const name = mp::name_of(static_cast<mp::DType>(dtype));
    add(name + ".scalar", static_cast<mp::DType>(dtype), {});
    add(name + ".odd", static_cast<mp::DType>(dtype), {3, 1, 5});
    add(name + ".empty", static_cast<mp::DType>(dtype), {4, 0, 2});
  }
  add("quote\" back\\slash \n tab\t \x01 \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", mp::DType::uint8, {2});
  mp::SafetensorsMetadata const metadata{{"format", "pt"}, {"note \"1\"", "line\nbreak \xc3\xa9"}, {"", ""}};

  std::string const path = directory / "all.safetensors";
  mp::write_safetensors(path, entries, metadata);
  CHECK(directory.count() == 1);  // no temporary file is left
  mp::SafetensorsFile const file(path);
  CHECK(file.metadata() == metadata);
  REQUIRE(file.names().size() == entries.size());
  CHECK(std::is_sorted(file.names().begin(), file.names().end()));
  for (auto const& entry : entries) {
    INFO(entry.name);
    REQUIRE(file.contains(entry.name));
    mp::SafetensorsTensor const& tensor = file.find(entry.name);
    CHECK(tensor.known_dtype);
    CHECK(tensor.dtype == entry.dtype);
    CHECK(tensor.shape == entry.shape);
    CHECK(std::equal(tensor.bytes.begin(), tensor.bytes.end(), entry.bytes.begin(), entry.bytes.end()));
  }
  // The data start at a multiple of 8, and the order of the entries makes no difference to the file.
  std::string const first = whole_file(path);
  std::uint64_t length = 0;
  std::memcpy(&length, first.data(), 8);
  CHECK(length % 8 == 0);
  std::reverse(entries.begin(), entries.end());
  mp::write_safetensors(path, entries, metadata);
  CHECK(whole_file(path) == first);

  mp::write_safetensors(path, {});
  CHECK(mp::SafetensorsFile(path).names().empty());
}

TEST_CASE("safetensors: a moved file keeps its tensors") {
  TemporaryDirectory const directory;
  std::vector<float> const values{1.5f, -2.25f};
  mp::SafetensorsEntry const entry{"a", mp::DType::float32, {2}, std::as_bytes(std::span(values))};
  mp::write_safetensors(directory / "a", std::span(&entry, 1));
  auto first = std::make_unique<mp::SafetensorsFile>(directory / "a");
  mp::SafetensorsFile const second = std::move(*first);
  first.reset();
  CHECK(floats_of(second.find("a")) == values);
}

TEST_CASE("safetensors: dtypes that mixprec does not compute with are read under their own names") {
  TemporaryDirectory const directory;
  std::string const path =
      directory.put("f8", file_of(R"({"a":{"dtype":"F8_E4M3","shape":[3],"data_offsets":[0,3]},)"
                                  R"( "b" : { "shape" : [ 2 , 2 ] , "data_offsets" : [ 3 , 5 ] , "dtype" : "F4" } } )",
                                  5));
  mp::SafetensorsFile const file(path);
  CHECK_FALSE(file.find("a").known_dtype);
  CHECK(file.find("a").dtype_text == "F8_E4M3");
  CHECK(file.find("b").shape == std::vector<std::int64_t>{2, 2});
  CHECK(file.find("b").bytes.size() == 2);
}

TEST_CASE("safetensors: every truncation and every extension of a file is refused by name") {
  TemporaryDirectory const directory;
  std::string const whole = file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                                    R"("b":{"dtype":"U8","shape":[1],"data_offsets":[8,9]}})",
                                    9);
  CHECK(problem_of(directory, whole).empty());
  for (std::size_t length = 0; length < whole.size(); ++length) {
    std::string const problem = problem_of(directory, whole.substr(0, length));
    CAPTURE(length);
    CHECK(has(problem, "safetensors file '" + (directory / "weights.safetensors") + "'"));
  }
  CHECK(has(problem_of(directory, whole + "x"), "holds 10 bytes of data, but its tensors end at byte 9"));
}

TEST_CASE("safetensors: flipping any bit of the header gives an error or a file that is consistent in itself") {
  TemporaryDirectory const directory;
  std::string const whole = file_of(R"({"__metadata__":{"k":"\u00e9"},"a":{"dtype":"F32","shape":[1,2],)"
                                    R"("data_offsets":[0,8]},"b":{"dtype":"U8","shape":[],"data_offsets":[8,9]}})",
                                    9);
  int refused = 0;
  for (std::size_t bit = 0; bit < (whole.size() - 9) * 8; ++bit) {
    std::string damaged = whole;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    std::string const path = directory.put("weights.safetensors", damaged);
    try {
      mp::SafetensorsFile const file(path);
      std::size_t bytes = 0;
      for (auto const& name : file.names()) bytes += file.find(name).bytes.size();
      CHECK(bytes == 9);
    } catch (mp::Error const&) {
      ++refused;
    }
  }
  CHECK(refused > static_cast<int>(whole.size()));
}

TEST_CASE("safetensors: bad lengths, offsets, dtypes, shapes and JSON are refused with their values") {
  TemporaryDirectory const directory;
  auto const entry = [](std::string const& name, std::string const& dtype, std::string const& shape,
                        std::string const& offsets) {
    return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
  };
  auto const problem = [&](std::string const& header, std::size_t bytes) {
    return problem_of(directory, file_of(header, bytes));
  };
  std::string const good = entry("a", "F32", "[2]", "[0,8]");
  REQUIRE(problem("{" + good + "}", 8).empty());

  std::string huge = file_of("{" + good + "}", 8);
  huge[7] = '\x7f';
  CHECK(has(problem_of(directory, huge), "claims a header of 91513144428168479"));

  struct Case {
    std::string header;
    std::size_t bytes;
    char const* what;
  };
  std::vector<Case> const cases{
      {"{" + entry("a", "F32", "[2]", "[0,9]") + "}", 9, "needs 8 bytes, but its offsets span 9"},
      {"{" + entry("a", "F32", "[2]", "[0,8]") + "}", 7, "claims bytes 0 to 8 of 7"},
      {"{" + entry("a", "F32", "[2]", "[8,0]") + "}", 8, "claims bytes 8 to 0"},
      {"{" + entry("a", "F32", "[2]", "[4,12]") + "}", 12, "behind a gap from byte 0"},
      {"{" + good + "," + entry("b", "U8", "[4]", "[6,10]") + "}", 10, "inside the tensor before it, which ends at 8"},
      {"{" + good + "," + entry("b", "F32", "[2]", "[0,8]") + "}", 8, "inside the tensor before it"},
      {"{" + good + "," + good + "}", 8, "the name 'a' occurs twice"},
      {R"({"\u0061":{"dtype":"U8","shape":[0],"data_offsets":[8,8]},)" + good + "}", 8, "the name 'a' occurs twice"},
      {"{" + entry("a", "F31", "[2]", "[0,8]") + "}", 8, "unknown dtype 'F31'"},
      {"{" + entry("a", "F4", "[3]", "[0,2]") + "}", 2, "no size in whole bytes"},
      {"{" + entry("a", "U8", "[4294967296,4294967296]", "[0,0]") + "}", 0, "no size in whole bytes"},
      {"{" + entry("a", "U8", "[0,18446744073709551615]", "[0,0]") + "}", 0, "no size in whole bytes"},
      {"{" + entry("a", "F32", "[2]", "[0,18446744073709551616]") + "}", 8, "does not fit in 64 bits"},
      {"{" + entry("a", "F32", "[-2]", "[0,8]") + "}", 8, "non-negative integer"},
      {"{" + entry("a", "F32", "[2.0]", "[0,8]") + "}", 8, "']' is missing"},
      {"{" + entry("a", "F32", "[02]", "[0,8]") + "}", 8, "starts with 0"},
      {"{" + entry("a", "F32", "[2,]", "[0,8]") + "}", 8, "non-negative integer"},
      {"{" + entry("a", "F32", "[2]", "[0,4,8]") + "}", 8, "data_offsets has 3 numbers"},
      {R"({"a":{"dtype":"F32","shape":[2]}})", 8, "lacks dtype, shape or data_offsets"},
      {R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8, "'dtype' occurs twice"},
      {R"({"a":{"type":"F32","shape":[2],"data_offsets":[0,8]}})", 8, "unknown field 'type'"},
      {R"({"__metadata__":{},"__metadata__":{}})", 0, "__metadata__ occurs twice"},
      {R"({"__metadata__":{"a":"b","a":"c"}})", 0, "metadata key 'a' occurs twice"},
      {R"({"__metadata__":{"a":1}})", 0, "'\"' is missing"},
      {R"({"__metadata__":{"a":"\ud800x"}})", 0, "half of a surrogate pair"},
      {R"({"__metadata__":{"a":"\udc00"}})", 0, "half of a surrogate pair"},
      {R"({"__metadata__":{"a":"\u00g0"}})", 0, "four hexadecimal digits"},
      {R"({"__metadata__":{"a":"\x"}})", 0, "unknown escape"},
      {"{\"__metadata__\":{\"a\":\"\xc0\x80\"}}", 0, "not valid UTF-8"},
      {"{\"__metadata__\":{\"a\":\"\xed\xa0\x80\"}}", 0, "not valid UTF-8"},
      {"{\"__metadata__\":{\"a\":\"\n\"}}", 0, "control character"},
      {" {}", 0, "does not start with '{'"},
      {"{} x", 0, "text follows"},
      {"{" + good, 8, "'}' is missing"},
      {"{" + good + ",}", 8, "'\"' is missing"},
      {"", 0, "does not start with '{'"},
  };
  for (auto const& [header, bytes, what] : cases) {
    std::string const message = problem(header, bytes);
    INFO(header);
    INFO(message);
    CHECK(has(message, what));
    CHECK(has(message, "safetensors file '" + (directory / "weights.safetensors") + "'"));
  }
}

TEST_CASE("safetensors: surrogate pairs and escapes in names become UTF-8") {
  TemporaryDirectory const directory;
  std::string const path =
      directory.put("a", file_of(R"({"\ud83d\ude00\u20AC\/\b":{"dtype":"U8","shape":[],"data_offsets":[0,1]}})", 1));
  CHECK(mp::SafetensorsFile(path).names() == std::vector<std::string>{"\xf0\x9f\x98\x80\xe2\x82\xac/\b"});
}

TEST_CASE("safetensors: the writer refuses what would not be read back, and the old file stays") {
  TemporaryDirectory const directory;
  std::string const path = directory.put("a", "old");
  std::array<std::byte, 8> const bytes{};
  auto const problem = [&](std::vector<mp::SafetensorsEntry> const& entries) {
    return message_of<mp::Error>([&] { mp::write_safetensors(path, entries); });
  };
  CHECK(has(problem({{"x", mp::DType::float32, {3}, bytes}}), "comes with 8 bytes"));
  CHECK(has(problem({{"x", mp::DType::float32, {-2}, bytes}}), "shape [-2]"));
  CHECK(has(problem({{"x", mp::DType::float32, {2}, bytes}, {"x", mp::DType::int64, {1}, bytes}}), "given twice"));
  CHECK(has(problem({{"__metadata__", mp::DType::float32, {2}, bytes}}), "cannot be a tensor's name"));
  CHECK(has(problem({{"\xff", mp::DType::float32, {2}, bytes}}), "not UTF-8"));
  CHECK(whole_file(path) == "old");
  CHECK(directory.count() == 1);

  CHECK(has(message_of<mp::Error>([&] { mp::write_safetensors(directory / "none/a", {}); }), "cannot be created"));
  std::filesystem::create_directory(directory / "taken");
  CHECK(has(message_of<mp::Error>([&] { mp::write_safetensors(directory / "taken", {}); }), "is not a regular file"));
  CHECK(directory.count() == 2);  // the temporary file is gone
}

TEST_CASE("safetensors: paths that are no files are refused") {
  TemporaryDirectory const directory;
  auto const problem = [](std::string const& path) {
    return message_of<mp::Error>([&] { mp::SafetensorsFile file(path); });
  };
  CHECK(has(problem(directory / "absent"), "cannot be opened"));
  CHECK(has(problem(directory / "."), "is not a regular file"));
  CHECK(has(problem("/dev/zero"), "is not a regular file"));
}

TEST_CASE("safetensors: PyTorch's file of a small net gives the outputs that PyTorch computed") {
  char const* const data = std::getenv("MIXPREC_TEST_DATA");
  if (data == nullptr && skipped("MIXPREC_TEST_DATA is not set")) return;
  std::string const folder = std::string(data) + "/golden_weights_ops/safetensors_multi_layer/";
  mp::SafetensorsFile const file(folder + "multi_layer.safetensors");
  CHECK(file.names().size() == 9);
  CHECK(file.find("norm1.num_batches_tracked").dtype == mp::DType::int64);
  CHECK(file.find("conv1.weight").shape == std::vector<std::int64_t>{4, 3, 3, 3});
  CHECK(has(message_of<mp::Error>([&] { file.find("conv2.weight"); }), "has no tensor 'conv2.weight' among its 9"));

  // Convolution 3x3 with padding 1 of ones, batch norm, relu, then the linear layer: in double.
  auto const get = [&](char const* name) { return floats_of(file.find(name)); };
  auto const weight = get("conv1.weight"), bias = get("conv1.bias"), gain = get("norm1.weight"),
             shift = get("norm1.bias"), mean = get("norm1.running_mean"), variance = get("norm1.running_var");
  std::vector<double> hidden;
  for (std::size_t channel = 0; channel < 4; ++channel) {
    for (int y = 0; y < 8; ++y) {
      for (int x = 0; x < 8; ++x) {
        double sum = bias[channel];
        for (std::size_t k = 0; k < 27; ++k) {
          int const row = y + static_cast<int>(k % 9 / 3) - 1, column = x + static_cast<int>(k % 3) - 1;
          if (row >= 0 && row < 8 && column >= 0 && column < 8) sum += weight[channel * 27 + k];
        }
        double const normal =
            (sum - mean[channel]) / std::sqrt(variance[channel] + 1e-5) * gain[channel] + shift[channel];
        hidden.push_back(normal > 0 ? normal : 0);
      }
    }
  }
  auto const matrix = get("fc1.weight"), offset = get("fc1.bias");
  std::string text = whole_file(folder + "expected_output.txt");
  for (char& c : text) {
    if (std::string_view("0123456789.-+e").find(c) == std::string_view::npos) c = ' ';
  }
  char const* at = text.c_str();
  for (std::size_t i = 0; i < 16; ++i) {
    char* end = nullptr;
    double const expected = std::strtod(at, &end);
    REQUIRE(end != at);
    at = end;
    double sum = offset[i], magnitude = std::abs(sum);
    for (std::size_t k = 0; k < 256; ++k) {
      sum += matrix[i * 256 + k] * hidden[k];
      magnitude += std::abs(matrix[i * 256 + k] * hidden[k]);
    }
    // PyTorch summed in float and printed eight decimals.
    CHECK(std::abs(sum - expected) <= 32 * double{std::numeric_limits<float>::epsilon()} * magnitude + 5e-9);
  }

  mp::SafetensorsFile const mnist(std::string(data) + "/golden_weights_ops/mnist_cnn/mnist.safetensors");
  CHECK(mnist.names().size() == 20);
}
