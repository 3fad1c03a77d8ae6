/* What the C and the C++ example share: a recording's features, the text of tokens, the time, the provider's counters.
 * Nothing of ONNX Runtime. Errors end the program, which is short. */
#ifndef WHISPER_H
#define WHISPER_H

#include <dlfcn.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MELS = 80, FRAMES = 3000, WINDOW = 400, HOP = 160, BINS = WINDOW / 2 + 1, MOST_TOKENS = 224, FEATURES = MELS * FRAMES };

static void fail(const char *what, const char *why) {
    fprintf(stderr, "error: %s: %s\n", what, why);
    exit(1);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* What the provider's library has counted in this process: it is the library that ONNX Runtime has open. */
static uint64_t counted(const char *library, const char *name) {
    void *handle = dlopen(library, RTLD_NOW);
    if (!handle) fail(library, dlerror());
    uint64_t (*counter)(const char *);
    *(void **)&counter = dlsym(handle, "onnxruntime_ep_xdna_counter");
    if (!counter) fail(library, "exports no counter");
    return counter(name);
}

/* The first 30 s of a WAV file of 16 kHz, one channel, 16 bits, from -1 to 1; silence after its end. */
static float *read_wav(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) fail(path, "cannot be opened");
    unsigned char chunk[8], form[16];
    float *samples = (float *)calloc(FRAMES * HOP, sizeof *samples);
    int known = 0;
    if (fread(form, 1, 12, file) != 12 || memcmp(form, "RIFF", 4) || memcmp(form + 8, "WAVE", 4)) fail(path, "is no WAV file");
    while (fread(chunk, 1, 8, file) == 8) {
        uint32_t size = chunk[4] | chunk[5] << 8 | chunk[6] << 16 | (uint32_t)chunk[7] << 24;
        if (!memcmp(chunk, "fmt ", 4) && size >= 16) {
            if (fread(form, 1, 16, file) != 16) break;
            known = form[2] == 1 && (form[4] | form[5] << 8) == 16000 && !form[6] && form[14] == 16;
            size -= 16;
        } else if (!memcmp(chunk, "data", 4)) {
            if (!known) break;
            for (size_t at = 0; at < FRAMES * HOP && 2 * at + 1 < size && fread(chunk, 1, 2, file) == 2; ++at)
                samples[at] = (float)(int16_t)(chunk[0] | chunk[1] << 8) / 32768;
            fclose(file);
            return samples;
        }
        fseek(file, (long)size + size % 2, SEEK_CUR);
    }
    fail(path, "has no sound of 16 kHz, one channel, 16 bits");
    return NULL;
}

/* Slaney's mel: linear below 1000 Hz, logarithmic above. */
static double hertz(double mel) { return mel < 15 ? mel * 200 / 3 : 1000 * pow(6.4, (mel - 15) / 27); }

/* Whisper's features of 30 s of samples, `[80, 3000]`. */
static float *log_mel(const float *samples) {
    static float cosines[BINS][WINDOW], sines[BINS][WINDOW];
    static double filters[MELS][BINS];
    const double pi = 3.14159265358979323846, last = 15 + 27 * log(8) / log(6.4);
    for (int bin = 0; bin < BINS; ++bin)
        for (int at = 0; at < WINDOW; ++at) {
            double hann = 0.5 - 0.5 * cos(2 * pi * at / WINDOW), angle = 2 * pi * bin * at / WINDOW;
            cosines[bin][at] = (float)(hann * cos(angle));
            sines[bin][at] = (float)(hann * sin(angle));
        }
    for (int mel = 0; mel < MELS; ++mel) {
        double low = hertz(last * mel / (MELS + 1)), middle = hertz(last * (mel + 1) / (MELS + 1)), high = hertz(last * (mel + 2) / (MELS + 1));
        for (int bin = 0; bin < BINS; ++bin) {
            double at = 16000.0 * bin / WINDOW;
            filters[mel][bin] = fmax(0, fmin((at - low) / (middle - low), (high - at) / (high - middle))) * 2 / (high - low);
        }
    }
    float *features = (float *)malloc(FEATURES * sizeof *features), most = -10;
    for (int frame = 0; frame < FRAMES; ++frame) {
        float window[WINDOW];
        double power[BINS];
        int silent = 1;
        for (int at = 0; at < WINDOW; ++at) {
            /* Mirrored at both ends. */
            int from = abs(frame * HOP + at - WINDOW / 2);
            window[at] = samples[from < FRAMES * HOP ? from : 2 * (FRAMES * HOP - 1) - from];
            silent = silent && window[at] == 0;
        }
        for (int bin = 0; bin < BINS; ++bin) {
            float real = 0, imaginary = 0;
            for (int at = 0; !silent && at < WINDOW; ++at) {
                real += window[at] * cosines[bin][at];
                imaginary += window[at] * sines[bin][at];
            }
            power[bin] = (double)real * real + (double)imaginary * imaginary;
        }
        for (int mel = 0; mel < MELS; ++mel) {
            double sum = 0;
            for (int bin = 0; bin < BINS; ++bin) sum += filters[mel][bin] * power[bin];
            features[mel * FRAMES + frame] = (float)log10(fmax(sum, 1e-10));
            most = fmaxf(most, features[mel * FRAMES + frame]);
        }
    }
    for (int at = 0; at < FEATURES; ++at) features[at] = (fmaxf(features[at], most - 8) + 4) / 4;
    return features;
}

/* The bytes of each token, from a file with a line of hexadecimal digits for each. */
typedef struct {
    char **texts;
    int64_t count;
} Vocabulary;

static Vocabulary read_vocabulary(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) fail(path, "cannot be opened");
    Vocabulary vocabulary = {NULL, 0};
    char line[4096];
    while (fgets(line, sizeof line, file)) {
        size_t length = strspn(line, "0123456789abcdef") / 2;
        char *text = (char *)calloc(length + 1, 1);
        for (size_t at = 0; at < length; ++at) {
            char digits[3] = {line[2 * at], line[2 * at + 1], 0};
            text[at] = (char)strtol(digits, NULL, 16);
        }
        vocabulary.texts = (char **)realloc(vocabulary.texts, (size_t)(vocabulary.count + 1) * sizeof *vocabulary.texts);
        vocabulary.texts[vocabulary.count++] = text;
    }
    fclose(file);
    return vocabulary;
}

static int64_t token_of(const Vocabulary *vocabulary, const char *text) {
    for (int64_t token = vocabulary->count; token-- > 0;)
        if (!strcmp(vocabulary->texts[token], text)) return token;
    fail(text, "is not in the vocabulary");
    return -1;
}

/* What the decoder is told first; gives how many tokens. */
static size_t prompt_of(const Vocabulary *vocabulary, int64_t tokens[4]) {
    static const char *const words[4] = {"<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>"};
    /* Models of English alone have fewer tokens before this one, and are told neither language nor task. */
    int64_t start = token_of(vocabulary, words[0]);
    size_t count = 0;
    for (int word = 0; word < 4; ++word)
        if (start > 50257 || word == 0 || word == 3) tokens[count++] = token_of(vocabulary, words[word]);
    return count;
}

/* A blank for each end of a line or tab, none at the beginning. */
static void print_text(const char *text) {
    text += strspn(text, " \n\t");
    for (; *text; ++text) putchar(strchr("\n\t", *text) ? ' ' : *text);
    putchar('\n');
}

#endif
