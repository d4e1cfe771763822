/* Kamailio's xmpp module reads expat's attribute list up to an empty string, where expat ends it with a null pointer, and crashes.
   Preloaded, this puts an empty string before the null pointer, and nothing else. */
#include <dlfcn.h>

typedef void (*start_handler)(void *, const char *, const char **);
typedef void (*set_handlers)(void *, start_handler, void *);

static start_handler real_start;

static void start(void *data, const char *name, const char **attributes) {
    const char *copy[66];
    int n = 0;
    while (attributes[n] && n < 64) { copy[n] = attributes[n]; n++; }
    copy[n] = "";
    copy[n + 1] = 0;
    real_start(data, name, copy);
}

void XML_SetElementHandler(void *parser, start_handler handler, void *end) {
    real_start = handler;
    /* The library came with a module, so "the next one" does not find it. */
    set_handlers real = (set_handlers)dlsym(dlopen("libexpat.so.1", RTLD_NOW), "XML_SetElementHandler");
    real(parser, handler ? start : handler, end);
}
