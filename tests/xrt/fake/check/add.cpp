// XRT's own C++ API against the pretended device, without any code of this project above it: device, container, context, buffers, runs,
// run lists, and what each fault looks like from here. Prints one line for each step; a step that fails ends the program.
//
//   add CONTAINER FOLDER ordinary|timeout|lost

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "xrt/experimental/xrt_kernel.h"
#include "xrt/xrt_bo.h"
#include "xrt/xrt_device.h"
#include "xrt/xrt_hw_context.h"
#include "xrt/xrt_kernel.h"

namespace {

constexpr std::size_t bytes = 5000;
constexpr std::uint32_t add = 0x0add0add;

void expect(bool holds, const std::string& what) {
    std::printf("%s %s\n", holds ? "ok    " : "FAILED", what.c_str());
    if (!holds)
        std::exit(1);
}

// What the pretended device does wrong from now on; "" for nothing.
struct Faults {
    std::string folder;

    void set(const std::string& fault) const { std::ofstream(folder + "/fault") << fault; }
};

// That something throws, with these words in it.
void throws(const std::string& what, const std::string& words, const std::function<void()>& something) {
    try {
        something();
    } catch (const std::exception& error) {
        expect(std::string(error.what()).find(words) != std::string::npos, what + ": " + error.what());
        return;
    }
    expect(false, what + " is an error");
}

// Three buffers, and a run over them.
struct Work {
    xrt::bo a, b, c;

    Work(const xrt::device& device, const xrt::kernel& kernel, unsigned seed)
        : a(device, bytes, XRT_BO_FLAGS_HOST_ONLY, kernel.group_id(3)),
          b(device, bytes, XRT_BO_FLAGS_HOST_ONLY, kernel.group_id(4)),
          c(device, bytes, XRT_BO_FLAGS_HOST_ONLY, kernel.group_id(5)) {
        for (std::size_t i = 0; i < bytes; ++i) {
            a.map<std::uint8_t*>()[i] = static_cast<std::uint8_t>(i * seed + i / 251);
            b.map<std::uint8_t*>()[i] = static_cast<std::uint8_t>(i * 7 + seed);
        }
        a.sync(XCL_BO_SYNC_BO_TO_DEVICE);
        b.sync(XCL_BO_SYNC_BO_TO_DEVICE);
    }

    xrt::run run(const xrt::kernel& kernel, const xrt::bo& instructions, std::uint32_t words, std::uint64_t opcode = 3) {
        xrt::run run(kernel);
        run.set_arg(0, opcode);
        run.set_arg(1, instructions);
        run.set_arg(2, words);
        run.set_arg(3, a);
        run.set_arg(4, b);
        run.set_arg(5, c);
        return run;
    }

    bool right() {
        c.sync(XCL_BO_SYNC_BO_FROM_DEVICE);
        for (std::size_t i = 0; i < bytes; ++i)
            if (c.map<std::uint8_t*>()[i] !=
                static_cast<std::uint8_t>(a.map<std::uint8_t*>()[i] + b.map<std::uint8_t*>()[i]))
                return false;
        return true;
    }
};

}  // namespace

int main(int, char** argv) {
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    const Faults faults{argv[2]};
    faults.set("");
    xrt::device device(0);
    expect(true, "device: " + device.get_info<xrt::info::device::name>() + " at " + device.get_info<xrt::info::device::bdf>());

    xrt::xclbin container{std::string(argv[1])};
    device.register_xclbin(container);
    throws("a device without contexts", "", [&] {
        faults.set("contexts");
        xrt::hw_context(device, container.get_uuid());
    });
    faults.set("");
    xrt::hw_context context(device, container.get_uuid());
    xrt::kernel kernel(context, "MLIR_AIE");
    expect(true, "context and kernel");

    xrt::bo instructions(device, 8, XCL_BO_FLAGS_CACHEABLE, kernel.group_id(1));
    instructions.map<std::uint32_t*>()[0] = add;
    instructions.map<std::uint32_t*>()[1] = bytes;
    instructions.sync(XCL_BO_SYNC_BO_TO_DEVICE);

    Work one(device, kernel, 3);
    xrt::run run = one.run(kernel, instructions, 2);
    run.start();
    expect(run.wait(std::chrono::milliseconds(5000)) == ERT_CMD_STATE_COMPLETED && one.right(), "a run is right");
    run.start();
    run.wait2();
    expect(one.right(), "and again");

    std::vector<Work> works;
    for (unsigned seed = 0; seed < 70; ++seed)
        works.emplace_back(device, kernel, seed);
    {
        xrt::runlist list(context);
        for (auto& work : works)
            list.add(work.run(kernel, instructions, 2));
        list.execute();
        list.wait();
        bool right = true;
        for (auto& work : works)
            right = right && work.right();
        expect(right, "a list of 70 runs is right");
        faults.set("error 5");
        list.execute();
        throws("a failed run in a list", "failed", [&] { list.wait(); });
        faults.set("");
    }

    throws("a wrong opcode", "ERT_CMD_STATE_ERROR", [&] {
        xrt::run wrong = one.run(kernel, instructions, 2, 4);
        wrong.start();
        wrong.wait2();
    });
    throws("a number of bytes instead of words", "ERT_CMD_STATE_ERROR", [&] {
        xrt::run wrong = one.run(kernel, instructions, 8192);
        wrong.start();
        wrong.wait2();
    });
    faults.set("abort");
    throws("an aborted run", "ERT_CMD_STATE_ABORT", [&] {
        run.start();
        run.wait2();
    });
    faults.set("refused");
    throws("a run that the driver refuses", "", [&] { run.start(); });
    faults.set("no-memory");
    throws("no memory", "", [&] { xrt::bo(device, bytes, XRT_BO_FLAGS_HOST_ONLY, kernel.group_id(3)); });
    faults.set("");
    run = one.run(kernel, instructions, 2);
    run.start();
    run.wait2();
    expect(one.right(), "after faults a run is right");

    std::vector<xrt::hw_context> more;
    throws("one context too many", "", [&] {
        for (int i = 0; i < 20; ++i)
            more.emplace_back(device, container.get_uuid());
    });
    std::printf("       %zu contexts\n", more.size() + 1);
    more.clear();

    const std::string last = argv[3];
    if (last == "timeout") {
        faults.set("timeout");
        run.start();
        // Where the driver has timelines, XRT 2.25's shim does not look at how the wait ended, and XRT throws over the state it finds.
        try {
            expect(run.wait(std::chrono::milliseconds(300)) == ERT_CMD_STATE_TIMEOUT, "a run that never ends is given up");
        } catch (const std::runtime_error& error) {
            expect(run.state() < ERT_CMD_STATE_COMPLETED, std::string("a run that never ends is given up: ") + error.what());
        }
        // It must end before its object does: XRT ends the process that destroys a run in progress.
        faults.set("");
        throws("the driver's watchdog ends it", "", [&] { run.wait2(); });
        run.start();
        run.wait2();
        expect(one.right(), "the run after it is right");
    }
    if (last == "lost") {
        faults.set("lost");
        throws("a lost device", "No such device", [&] { xrt::bo(device, bytes, XRT_BO_FLAGS_HOST_ONLY, kernel.group_id(3)); });
    }
    return 0;
}
