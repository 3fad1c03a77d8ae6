// What the bridge needs beside XRT's own methods: constructors, and how an exception becomes a failure.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "rust/cxx.h"
#include "xrt/experimental/xrt_kernel.h"
#include "xrt/experimental/xrt_system.h"
#include "xrt/experimental/xrt_xclbin.h"
#include "xrt/xrt_bo.h"
#include "xrt/xrt_device.h"
#include "xrt/xrt_hw_context.h"
#include "xrt/xrt_kernel.h"

namespace undertone {

// An exception crosses as text: its kind (of table.rs), its number, and what it said, with '|' between them.
inline std::string failure(std::uint32_t kind, int code, const char* said)
{
  return std::to_string(kind) + "|" + std::to_string(code) + "|" + (said ? said : "");
}

constexpr std::uint32_t exception = 0;
constexpr std::uint32_t command = 1;

} // namespace undertone

namespace rust::behavior {

// Found by cxx in place of its own.
template <typename Try, typename Fail>
static void trycatch(Try&& attempt, Fail&& fail) noexcept
try {
  attempt();
}
catch (const xrt::runlist::command_error& error) {
  fail(undertone::failure(undertone::command, error.get_command_state(), error.what()));
}
catch (const xrt::run::command_error& error) {
  fail(undertone::failure(undertone::command, error.get_command_state(), error.what()));
}
catch (const std::system_error& error) {
  fail(undertone::failure(undertone::exception, error.code().value(), error.what()));
}
catch (const std::bad_alloc& error) {
  fail(undertone::failure(undertone::exception, static_cast<int>(std::errc::not_enough_memory), error.what()));
}
catch (const std::exception& error) {
  fail(undertone::failure(undertone::exception, 0, error.what()));
}
catch (...) {
  fail(undertone::failure(undertone::exception, 0, "an exception that is none of C++'s own"));
}

} // namespace rust::behavior

namespace undertone {

inline std::uint32_t device_count()
{
  return xrt::system::enumerate_devices();
}

inline std::unique_ptr<xrt::device> open_device(std::uint32_t index)
{
  return std::make_unique<xrt::device>(index);
}

// Another handle of the same device.
inline std::unique_ptr<xrt::device> share_device(const xrt::device& device)
{
  return std::make_unique<xrt::device>(device);
}

inline rust::String device_address(const xrt::device& device)
{
  return device.get_info<xrt::info::device::bdf>();
}

inline rust::String device_name(const xrt::device& device)
{
  return device.get_info<xrt::info::device::name>();
}

inline std::unique_ptr<xrt::xclbin> read_xclbin(rust::Slice<const std::uint8_t> bytes)
{
  // XRT reads the header before it looks at the length.
  if (bytes.size() < sizeof(axlf))
    throw std::runtime_error("the container is shorter than its header");
  return std::make_unique<xrt::xclbin>(std::vector<char>(bytes.begin(), bytes.end()));
}

// The name of the kernel that mlir-aie puts into its containers; empty if there is none.
inline rust::String array_kernel(const xrt::xclbin& xclbin)
{
  for (const auto& kernel : xclbin.get_kernels())
    if (auto name = kernel.get_name(); name.rfind("MLIR_AIE", 0) == 0)
      return name;
  return {};
}

// How many arguments the container declares for a kernel.
inline std::size_t kernel_arguments(const xrt::xclbin& xclbin, rust::Str name)
{
  return xclbin.get_kernel(std::string(name)).get_num_args();
}

inline std::unique_ptr<xrt::hw_context> open_context(const xrt::device& device, const xrt::xclbin& xclbin)
{
  // Registering does not load it: the context does. XRT's device is a shared handle, so a copy registers for all.
  auto shared = device;
  return std::make_unique<xrt::hw_context>(shared, shared.register_xclbin(xclbin));
}

inline std::unique_ptr<xrt::kernel> open_kernel(const xrt::hw_context& context, rust::Str name)
{
  return std::make_unique<xrt::kernel>(context, std::string(name));
}

inline std::unique_ptr<xrt::bo>
new_buffer(const xrt::device& device, std::size_t bytes, std::uint32_t flags, std::int32_t group)
{
  return std::make_unique<xrt::bo>(device, bytes, static_cast<xrt::bo::flags>(flags), static_cast<xrt::memory_group>(group));
}

inline std::uint8_t* map_buffer(xrt::bo& buffer)
{
  return buffer.map<std::uint8_t*>();
}

inline void sync_buffer(const xrt::bo& buffer, bool to_device, std::size_t bytes)
{
  // XRT's object is a shared handle; syncing changes nothing of it, only the signature says so.
  auto shared = buffer;
  shared.sync(to_device ? XCL_BO_SYNC_BO_TO_DEVICE : XCL_BO_SYNC_BO_FROM_DEVICE, bytes, 0);
}

inline std::unique_ptr<xrt::run> new_run(const xrt::kernel& kernel)
{
  return std::make_unique<xrt::run>(kernel);
}

inline void set_number(xrt::run& run, std::int32_t index, std::uint64_t value)
{
  run.set_arg(index, value);
}

inline void set_buffer(xrt::run& run, std::int32_t index, const xrt::bo& buffer)
{
  run.set_arg(index, buffer);
}

inline std::unique_ptr<xrt::runlist> new_runlist(const xrt::hw_context& context)
{
  return std::make_unique<xrt::runlist>(context);
}

inline void add_run(xrt::runlist& list, const xrt::run& run)
{
  list.add(run);
}

// Whether the list was done in time.
//
// Where the driver keeps a timeline for each context, XRT 2.25's shim for the NPU does not look at how its wait for it ended. XRT then takes
// the list for one that failed, in a state that no failure has (or throws over it, for a single run). So the clock and that state tell
// whether the time limit passed; a wait that ended for another reason, such as a device that is gone, is no failed command either.
inline bool wait_runlist(const xrt::runlist& list, std::uint32_t milliseconds)
{
  const auto limit = std::chrono::milliseconds(milliseconds);
  const auto end = std::chrono::steady_clock::now() + limit;
  try {
    return list.wait(limit) == std::cv_status::no_timeout;
  }
  catch (const xrt::runlist::command_error& error) {
    if (error.get_command_state() >= ERT_CMD_STATE_COMPLETED)
      throw;
    if (std::chrono::steady_clock::now() >= end)
      return false;
    throw std::runtime_error(std::string("the wait ended before the command did: ") + error.what());
  }
}

inline bool is_done(const xrt::run& run)
{
  return run.state() >= ERT_CMD_STATE_COMPLETED;
}

// The same for a run that was started by itself. XRT throws `command_error` only over a state that a failure has.
inline bool wait_run(const xrt::run& run, std::uint32_t milliseconds)
{
  const auto limit = std::chrono::milliseconds(milliseconds);
  const auto end = std::chrono::steady_clock::now() + limit;
  try {
    return run.wait2(limit) == std::cv_status::no_timeout;
  }
  catch (const std::exception& error) {
    if (is_done(run))
      throw;
    if (std::chrono::steady_clock::now() >= end)
      return false;
    throw std::runtime_error(std::string("the wait ended before the command did: ") + error.what());
  }
}

} // namespace undertone
