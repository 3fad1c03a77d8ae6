// Whisper in C++ with ONNX Runtime's C++ API: features, greedy decoding with a cache of keys and values, text.
//
//     c++ -O2 -std=c++17 transcribe.cpp -o transcribe -I ../c -I ONNXRUNTIME/include -L ONNXRUNTIME/lib -lonnxruntime
//     UNDERTONE_EP_LIBRARY=/path/libonnxruntime_ep_xdna.so ./transcribe MODEL PRECISION RECORDING.wav...
//
// As ../c/transcribe.c, which says what MODEL and PRECISION are and what is printed.
#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "whisper.h"

static double in_sessions = 0;

// A session, and its inputs and outputs by their names.
struct Graph {
    Ort::Session session;
    std::vector<std::string> inputs, outputs;

    Graph(Ort::Env &environment, const Ort::SessionOptions &options, const std::string &path)
        : session(environment, path.c_str(), options), inputs(session.GetInputNames()), outputs(session.GetOutputNames()) {}

    std::vector<Ort::Value> run(const std::map<std::string, Ort::Value *> &values) {
        std::vector<const char *> in, out;
        std::vector<const OrtValue *> given;
        for (const auto &name : inputs) in.push_back(name.c_str()), given.push_back(*values.at(name));
        for (const auto &name : outputs) out.push_back(name.c_str());
        std::vector<OrtValue *> made(out.size(), nullptr);
        const double begin = now();
        Ort::ThrowOnError(Ort::GetApi().Run(session, nullptr, in.data(), given.data(), in.size(), out.data(), out.size(), made.data()));
        in_sessions += now() - begin;
        std::vector<Ort::Value> results;
        for (OrtValue *value : made) results.emplace_back(value);
        return results;
    }
};

static Ort::SessionOptions options_for(Ort::Env &environment, const std::string &precision) {
    Ort::SessionOptions options;
    if (precision == "cpu") return options;
    for (const auto &device : environment.GetEpDevices())
        if (std::string(device.EpName()) == "XdnaExecutionProvider") {
            options.AppendExecutionProvider_V2(environment, {device}, std::unordered_map<std::string, std::string>{{"device", "host"}, {"precision", precision}});
            return options;
        }
    throw std::runtime_error("XdnaExecutionProvider is not registered");
}

static int64_t likeliest(const Ort::Value &logits) {
    const auto shape = logits.GetTensorTypeAndShapeInfo().GetShape();
    const float *last = logits.GetTensorData<float>() + (shape[1] - 1) * shape[2];
    return std::max_element(last, last + shape[2]) - last;
}

struct Whisper {
    Graph encoder, first, later;
    Vocabulary vocabulary;
    Ort::MemoryInfo memory = Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeDefault);

    Whisper(Ort::Env &environment, const Ort::SessionOptions &options, const std::string &folder)
        : encoder(environment, options, folder + "/encoder_model.onnx"), first(environment, options, folder + "/decoder_model.onnx"),
          later(environment, options, folder + "/decoder_with_past_model.onnx"), vocabulary(read_vocabulary((folder + "/vocabulary.txt").c_str())) {}

    Ort::Value ids(int64_t *tokens, size_t count) {
        const int64_t shape[] = {1, static_cast<int64_t>(count)};
        return Ort::Value::CreateTensor<int64_t>(memory, tokens, count, shape, 2);
    }

    // Puts a decoder's results into the cache, under the names of the inputs that take them; gives the next token.
    static int64_t keep(const Graph &graph, std::vector<Ort::Value> results, std::map<std::string, Ort::Value> &cache) {
        for (size_t at = 1; at < results.size(); ++at)
            cache.insert_or_assign("past_key_values" + graph.outputs[at].substr(graph.outputs[at].find('.')), std::move(results[at]));
        return likeliest(results[0]);
    }

    std::string transcribe(const float *samples) {
        const int64_t shape[] = {1, MELS, FRAMES};
        float *features = log_mel(samples);
        auto sound = Ort::Value::CreateTensor<float>(memory, features, FEATURES, shape, 3);
        auto hidden = encoder.run({{"input_features", &sound}});
        free(features);

        int64_t prompt[4];
        const int64_t end = token_of(&vocabulary, "<|endoftext|>");
        auto told = ids(prompt, prompt_of(&vocabulary, prompt));
        std::map<std::string, Ort::Value> cache;
        int64_t token = keep(first, first.run({{"input_ids", &told}, {"encoder_hidden_states", &hidden[0]}}), cache);
        std::string text;
        for (int step = 0; token != end && step < MOST_TOKENS; ++step) {
            if (token < end) text += vocabulary.texts[token];
            auto last = ids(&token, 1);
            std::map<std::string, Ort::Value *> values{{"input_ids", &last}};
            for (auto &[name, value] : cache) values[name] = &value;
            token = keep(later, later.run(values), cache);
        }
        return text;
    }
};

int main(int count, char **arguments) try {
    const char *library = getenv("UNDERTONE_EP_LIBRARY");
    if (count < 4 || !library) fail("usage", "UNDERTONE_EP_LIBRARY=LIBRARY transcribe MODEL cpu|f32|bf16|int8 RECORDING.wav...");
    Ort::Env environment(ORT_LOGGING_LEVEL_WARNING, "transcribe");
    if (std::string("cpu") != arguments[2]) environment.RegisterExecutionProviderLibrary("undertone", library);
    Whisper whisper(environment, options_for(environment, arguments[2]), arguments[1]);
    const auto transcribe = [&](const char *recording) {
        float *samples = read_wav(recording);
        auto text = whisper.transcribe(samples);
        free(samples);
        return text;
    };
    // The first run of a session also lays out its memory.
    transcribe(arguments[3]);
    const char *counters[] = {"fused_nodes_executed", "kernel_calls.host"};
    const uint64_t before[] = {counted(library, counters[0]), counted(library, counters[1])};
    for (int at = 3; at < count; ++at) {
        in_sessions = 0;
        const double begin = now();
        const auto text = transcribe(arguments[at]);
        printf("text\t%s\t%.4f\t%.4f\t", arguments[at], now() - begin, in_sessions);
        print_text(text.c_str());
    }
    for (int which = 0; which < 2; ++which)
        printf("counter\t%s\t%llu\t%llu\n", counters[which], (unsigned long long)before[which], (unsigned long long)counted(library, counters[which]));
} catch (const std::exception &error) {
    fail("ONNX Runtime", error.what());
}
