/* ONNX Runtime 1.22, as far as the preloaded library asks it, and a caller of it. */

struct base {
    void *(*get_api)(unsigned version);
    const char *(*get_version)(void);
};

static void *get_api(unsigned version) {
    (void)version;
    return 0;
}

static const char *get_version(void) {
    return "1.22.1";
}

const struct base *OrtGetApiBase(void) {
    static const struct base base = {get_api, get_version};
    return &base;
}

/* What a program that is linked with it is told. */
const char *version(void) {
    return OrtGetApiBase()->get_version();
}
