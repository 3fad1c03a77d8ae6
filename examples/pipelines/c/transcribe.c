/* Whisper in C with ONNX Runtime's C API: features, greedy decoding with a cache of keys and values, text.
 *
 *     cc -O2 transcribe.c -o transcribe -I ONNXRUNTIME/include -L ONNXRUNTIME/lib -lonnxruntime -lm
 *     UNDERTONE_EP_LIBRARY=/path/libonnxruntime_ep_xdna.so ./transcribe MODEL PRECISION RECORDING.wav...
 *
 * MODEL is a folder as `undertone model convert` writes it, and a file vocabulary.txt with each token's bytes in hexadecimal.
 * PRECISION is f32, bf16 or int8 in Undertone's execution provider, or cpu: without it. English, 30 seconds at most. Prints
 * for each recording its file, the seconds that it took, those in ONNX Runtime, and its text; then the provider's counters. */
#define _GNU_SOURCE
#include <onnxruntime_c_api.h>

#include "whisper.h"

static const OrtApi *ort;
static OrtAllocator *allocator;
static OrtMemoryInfo *memory;
static double in_sessions;

static void checked(OrtStatus *status) {
    if (status) fail("ONNX Runtime", ort->GetErrorMessage(status));
}

typedef struct {
    OrtSession *session;
    size_t inputs, outputs;
    const char *input[64], *output[64];
} Graph;

/* The provider on its device, with options. */
static void add_provider(OrtEnv *environment, OrtSessionOptions *options, const char *precision) {
    const OrtEpDevice *const *devices;
    size_t count;
    checked(ort->GetEpDevices(environment, &devices, &count));
    for (size_t at = 0; at < count; ++at)
        if (!strcmp(ort->EpDevice_EpName(devices[at]), "XdnaExecutionProvider")) {
            const char *keys[] = {"device", "precision"}, *values[] = {"host", precision};
            checked(ort->SessionOptionsAppendExecutionProvider_V2(options, environment, &devices[at], 1, keys, values, 2));
            return;
        }
    fail("XdnaExecutionProvider", "is not registered");
}

static Graph open_graph(OrtEnv *environment, const OrtSessionOptions *options, const char *folder, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s.onnx", folder, name);
    Graph graph;
    checked(ort->CreateSession(environment, path, options, &graph.session));
    checked(ort->SessionGetInputCount(graph.session, &graph.inputs));
    checked(ort->SessionGetOutputCount(graph.session, &graph.outputs));
    if (graph.inputs > 64 || graph.outputs > 64) fail(path, "has more inputs or outputs than this program has room for");
    for (size_t at = 0; at < graph.inputs; ++at) checked(ort->SessionGetInputName(graph.session, at, allocator, (char **)&graph.input[at]));
    for (size_t at = 0; at < graph.outputs; ++at) checked(ort->SessionGetOutputName(graph.session, at, allocator, (char **)&graph.output[at]));
    return graph;
}

static void run(const Graph *graph, const OrtValue *const *inputs, OrtValue **outputs) {
    double begin = now();
    memset(outputs, 0, graph->outputs * sizeof *outputs);
    checked(ort->Run(graph->session, NULL, graph->input, inputs, graph->inputs, graph->output, graph->outputs, outputs));
    in_sessions += now() - begin;
}

static OrtValue *tensor(void *data, size_t bytes, const int64_t *shape, size_t axes, ONNXTensorElementDataType type) {
    OrtValue *value;
    checked(ort->CreateTensorWithDataAsOrtValue(memory, data, bytes, shape, axes, type, &value));
    return value;
}

static OrtValue *ids(int64_t *tokens, size_t count) {
    const int64_t shape[2] = {1, (int64_t)count};
    return tensor(tokens, count * sizeof *tokens, shape, 2, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64);
}

/* The likeliest token after the last one. */
static int64_t likeliest(OrtValue *logits) {
    OrtTensorTypeAndShapeInfo *info;
    int64_t shape[3], best = 0;
    float *values;
    checked(ort->GetTensorTypeAndShape(logits, &info));
    checked(ort->GetDimensions(info, shape, 3));
    ort->ReleaseTensorTypeAndShapeInfo(info);
    checked(ort->GetTensorMutableData(logits, (void **)&values));
    values += (shape[1] - 1) * shape[2];
    for (int64_t token = 1; token < shape[2]; ++token)
        if (values[token] > values[best]) best = token;
    return best;
}

/* "present.0.decoder.key" and "past_key_values.0.decoder.key" are one tensor. */
static int same_tensor(const char *past, const char *present) { return !strcmp(strchr(past, '.'), strchr(present, '.')); }

static void transcribe(const Graph *encoder, const Graph *first, const Graph *later, const Vocabulary *vocabulary, const float *samples, char *text, size_t room) {
    const int64_t shape[3] = {1, MELS, FRAMES};
    float *features = log_mel(samples);
    OrtValue *sound = tensor(features, FEATURES * sizeof *features, shape, 3, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT), *hidden, *outputs[64];
    run(encoder, (const OrtValue *const *)&sound, &hidden);

    int64_t prompt[4], end = token_of(vocabulary, "<|endoftext|>");
    OrtValue *told = ids(prompt, prompt_of(vocabulary, prompt));
    const OrtValue *inputs[64];
    for (size_t at = 0; at < first->inputs; ++at) inputs[at] = strcmp(first->input[at], "input_ids") ? hidden : told;
    run(first, inputs, outputs);

    /* The cache, by the later steps' inputs. */
    OrtValue *cache[64] = {NULL};
    for (size_t in = 0; in < later->inputs; ++in)
        for (size_t out = 1; out < first->outputs && strchr(later->input[in], '.'); ++out)
            if (same_tensor(later->input[in], first->output[out])) cache[in] = outputs[out];

    int64_t token = likeliest(outputs[0]);
    ort->ReleaseValue(outputs[0]);
    *text = 0;
    for (int step = 0; token != end && step < MOST_TOKENS; ++step) {
        if (token < end) strncat(text, vocabulary->texts[token], room - strlen(text) - 1);
        OrtValue *last = ids(&token, 1);
        for (size_t in = 0; in < later->inputs; ++in) inputs[in] = cache[in] ? cache[in] : last;
        run(later, inputs, outputs);
        /* The encoder's keys and values stay as they are. */
        for (size_t in = 0; in < later->inputs; ++in)
            for (size_t out = 1; out < later->outputs && cache[in]; ++out)
                if (same_tensor(later->input[in], later->output[out])) {
                    ort->ReleaseValue(cache[in]);
                    cache[in] = outputs[out];
                }
        ort->ReleaseValue(last);
        token = likeliest(outputs[0]);
        ort->ReleaseValue(outputs[0]);
    }
    for (size_t in = 0; in < later->inputs; ++in)
        if (cache[in]) ort->ReleaseValue(cache[in]);
    ort->ReleaseValue(told);
    ort->ReleaseValue(hidden);
    ort->ReleaseValue(sound);
    free(features);
}

int main(int count, char **arguments) {
    static const char *const counters[2] = {"fused_nodes_executed", "kernel_calls.host"};
    const char *library = getenv("UNDERTONE_EP_LIBRARY");
    if (count < 4 || !library) fail("usage", "UNDERTONE_EP_LIBRARY=LIBRARY transcribe MODEL cpu|f32|bf16|int8 RECORDING.wav...");
    const char *folder = arguments[1], *precision = arguments[2];
    OrtEnv *environment;
    OrtSessionOptions *options;
    ort = OrtGetApiBase()->GetApi(ORT_API_VERSION);
    if (!ort) fail("ONNX Runtime", "is older than this program's header");
    checked(ort->CreateEnv(ORT_LOGGING_LEVEL_WARNING, "transcribe", &environment));
    checked(ort->GetAllocatorWithDefaultOptions(&allocator));
    checked(ort->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &memory));
    checked(ort->CreateSessionOptions(&options));
    if (strcmp(precision, "cpu")) {
        checked(ort->RegisterExecutionProviderLibrary(environment, "undertone", library));
        add_provider(environment, options, precision);
    }
    Graph encoder = open_graph(environment, options, folder, "encoder_model");
    Graph first = open_graph(environment, options, folder, "decoder_model");
    Graph later = open_graph(environment, options, folder, "decoder_with_past_model");
    char path[4096], text[16384];
    snprintf(path, sizeof path, "%s/vocabulary.txt", folder);
    Vocabulary vocabulary = read_vocabulary(path);

    uint64_t before[2] = {0, 0};
    for (int at = 2; at < count; ++at) {
        /* The first recording twice: the first run of a session also lays out its memory. */
        const char *recording = arguments[at == 2 ? 3 : at];
        if (at == 3) for (int which = 0; which < 2; ++which) before[which] = counted(library, counters[which]);
        float *samples = read_wav(recording);
        in_sessions = 0;
        double begin = now();
        transcribe(&encoder, &first, &later, &vocabulary, samples, text, sizeof text);
        double seconds = now() - begin;
        free(samples);
        if (at == 2) continue;
        printf("text\t%s\t%.4f\t%.4f\t", recording, seconds, in_sessions);
        print_text(text);
    }
    for (int which = 0; which < 2; ++which)
        printf("counter\t%s\t%llu\t%llu\n", counters[which], (unsigned long long)before[which], (unsigned long long)counted(library, counters[which]));
    ort->ReleaseSession(encoder.session);
    ort->ReleaseSession(first.session);
    ort->ReleaseSession(later.session);
    ort->ReleaseSessionOptions(options);
    ort->ReleaseMemoryInfo(memory);
    ort->ReleaseEnv(environment);
    return 0;
}
