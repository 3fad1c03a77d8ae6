/* A program that is linked with ONNX Runtime and knows nothing of the provider: it makes a session of a Whisper encoder in
   four ways, runs each, and prints a line for each.

       program MODEL PROFILE OTHER        linked with ONNX Runtime
       host MODEL PROFILE OTHER           this as a library, and host.c, which is linked with nothing

   Its own options of a session are that profiles are written into files that begin with PROFILE. OTHER is another library
   with an ONNX Runtime inside, which tells its version.

   ONNX Runtime's table is an array of functions here, for its header is not in the repository; the places come from the
   test, which knows the table. */

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#define FRAMES (80 * 3000)

typedef void *Status;
struct base {
    void **(*get_api)(unsigned version);
    const char *(*get_version)(void);
};
const struct base *OrtGetApiBase(void);

static void **api;

static void check(Status status) {
    if (status) {
        fprintf(stderr, "program: %s\n", ((const char *(*)(Status))api[GET_ERROR_MESSAGE])(status));
        exit(3);
    }
}

static void run(void *session, const char *how) {
    static float features[FRAMES];
    const long long shape[] = {1, 80, 3000};
    const char *inputs[] = {"input_features"}, *outputs[] = {"last_hidden_state"};
    void *memory, *input, *output = NULL;
    float *hidden;
    for (int i = 0; i < FRAMES; ++i)
        features[i] = (float)(i % 97) / 97 - 0.5f;
    check(((Status(*)(int, int, void **))api[CREATE_CPU_MEMORY_INFO])(0, 0, &memory));
    check(((Status(*)(void *, void *, size_t, const long long *, size_t, int, void **))api[CREATE_TENSOR])(
        memory, features, sizeof features, shape, 3, 1, &input));
    check(((Status(*)(void *, void *, const char **, void **, size_t, const char **, size_t, void **))api[RUN])(
        session, NULL, inputs, &input, 1, outputs, 1, &output));
    check(((Status(*)(void *, float **))api[GET_TENSOR_MUTABLE_DATA])(output, &hidden));
    printf("%s %.4f %.4f %.4f\n", how, hidden[0], hidden[1000], hidden[200000]);
}

int MAIN(int count, char **arguments) {
    void *env, *options, *session, *container;
    const struct base *base = OrtGetApiBase();
    fprintf(stderr, "program: ONNX Runtime %s\n", base->get_version());
    api = base->get_api(23);
    if (!api || count != 4)
        return 2;
    FILE *file = fopen(arguments[1], "rb");
    if (!file)
        return 2;
    fseek(file, 0, SEEK_END);
    size_t length = (size_t)ftell(file);
    void *model = malloc(length);
    rewind(file);
    if (fread(model, 1, length, file) != length)
        return 2;

    check(((Status(*)(int, const char *, void **))api[CREATE_ENV])(3, "program", &env));
    check(((Status(*)(void **))api[CREATE_SESSION_OPTIONS])(&options));
    check(((Status(*)(void *, const char *))api[ENABLE_PROFILING])(options, arguments[2]));
    check(((Status(*)(void **))api[CREATE_CONTAINER])(&container));

    check(((Status(*)(void *, const char *, void *, void **))api[CREATE_SESSION])(env, arguments[1], options, &session));
    run(session, "file");
    check(((Status(*)(void *, const void *, size_t, void *, void **))api[CREATE_SESSION_FROM_ARRAY])(
        env, model, length, NULL, &session));
    run(session, "bytes");
    check(((Status(*)(void *, const char *, void *, void *, void **))api[CREATE_SESSION_WITH_CONTAINER])(
        env, arguments[1], options, container, &session));
    run(session, "shared");
    check(((Status(*)(void *, const void *, size_t, void *, void *, void **))api[CREATE_SESSION_FROM_ARRAY_WITH_CONTAINER])(
        env, model, length, options, container, &session));
    run(session, "shared bytes");

    /* An error of the program's own stays what it is. */
    Status status = ((Status(*)(void *, const char *, void *, void **))api[CREATE_SESSION])(env, "no such model", options, &session);
    printf("%s\n", status ? "no such model" : "a model of nothing");

    void *other = dlopen(arguments[3], RTLD_LAZY | RTLD_LOCAL);
    const char *(*version)(void) = other ? (const char *(*)(void))dlsym(other, "version") : NULL;
    printf("other %s\n", version ? version() : dlerror());
    return 0;
}
