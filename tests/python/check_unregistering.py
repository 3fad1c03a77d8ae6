"""Sessions that outlive the registration of the execution provider: they run on, are released, and the process ends well.

    python3 check_unregistering.py EP_LIBRARY ENCODER.onnx

The sessions are made by a thread that has ended: what a living thread has called of a library keeps it loaded. Run it with
MALLOC_PERTURB_ set, so that freed memory is overwritten. Needs onnxruntime and numpy.
"""

import sys
import threading

import numpy
import onnxruntime

from checks import EP_NAME, check


def session(encoder):
    (device,) = [device for device in onnxruntime.get_ep_devices() if device.ep_name == EP_NAME]
    settings = onnxruntime.SessionOptions()
    settings.add_provider_for_devices([device], {"device": "host", "precision": "f32"})
    made = onnxruntime.InferenceSession(encoder, settings)
    made.disable_fallback()
    return made


def main(library, encoder):
    feed = {"input_features": numpy.zeros((1, 80, 3000), numpy.float32)}
    onnxruntime.register_execution_provider_library("undertone", library)
    results, sessions = [], []

    def work():
        for _ in range(2):
            sessions.append(session(encoder))
            results.append(sessions[-1].run(None, feed)[0])

    worker = threading.Thread(target=work)
    worker.start()
    worker.join()
    onnxruntime.unregister_execution_provider_library("undertone")
    check(all(device.ep_name != EP_NAME for device in onnxruntime.get_ep_devices()), "the provider is still offered")
    for made in sessions:
        check((made.run(None, feed)[0] == results[0]).all(), "other numbers after the registration's end")
    sessions.pop()
    onnxruntime.register_execution_provider_library("again", library)
    check((session(encoder).run(None, feed)[0] == results[0]).all(), "other numbers after another registration")
    onnxruntime.unregister_execution_provider_library("again")
    # The other session is released by the end of the process.
    print(f"ONNX Runtime {onnxruntime.__version__}: sessions outlive their registration")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
