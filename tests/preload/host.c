/* A program that loads another one as a library, as Node.js loads its modules: for itself, and not for all. */

#include <dlfcn.h>
#include <stdio.h>

int main(int count, char **arguments) {
    void *program = dlopen(PROGRAM, RTLD_LAZY | RTLD_LOCAL);
    int (*run)(int, char **) = program ? (int (*)(int, char **))dlsym(program, "run_program") : NULL;
    if (!run) {
        fprintf(stderr, "host: %s\n", dlerror());
        return 4;
    }
    return run(count, arguments);
}
