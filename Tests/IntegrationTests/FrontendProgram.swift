/// A frontend's program in C, small enough to be linked statically: it asks BuildKit's LLBBridge over its standard streams, in HTTP/2 frames of its own making. It has the Dockerfile
/// frontend build with one argument more, `FROM_FRONTEND`, and returns that result as its own. By its first argument it does something else: `fails` ends without a result,
/// `refuses` returns an error.
enum FrontendProgram {
  static let source = #"""
    #include <stdint.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <unistd.h>

    struct bytes { unsigned char *at; size_t n; };
    static void add(struct bytes *b, const void *p, size_t n) { b->at = realloc(b->at, b->n + n + 1); memcpy(b->at + b->n, p, n); b->n += n; }
    static void number(struct bytes *b, uint64_t v) { do { unsigned char c = v & 0x7f; v >>= 7; if (v) c |= 0x80; add(b, &c, 1); } while (v); }
    static void field(struct bytes *b, int id, const void *p, size_t n) { number(b, (uint64_t)id << 3 | 2); number(b, n); add(b, p, n); }
    static void truth(struct bytes *b, int id) { number(b, (uint64_t)id << 3); number(b, 1); }

    static void write_all(const void *p, size_t n) { while (n) { ssize_t k = write(1, p, n); if (k <= 0) exit(71); p = (const char *)p + k; n -= k; } }
    static void read_all(void *p, size_t n) { while (n) { ssize_t k = read(0, p, n); if (k <= 0) exit(72); p = (char *)p + k; n -= k; } }
    static void frame(int type, int flags, uint32_t stream, const void *p, size_t n) {
      unsigned char head[9] = {n >> 16, n >> 8, n, type, flags, stream >> 24, stream >> 16, stream >> 8, stream};
      write_all(head, 9);
      write_all(p, n);
    }
    static void header(struct bytes *b, const char *name, const char *value) {
      unsigned char n = strlen(name), v = strlen(value), zero = 0;
      add(b, &zero, 1); add(b, &n, 1); add(b, name, n); add(b, &v, 1); add(b, value, v);
    }

    static struct bytes call(uint32_t stream, const char *method, struct bytes message) {
      char path[120];
      struct bytes headers = {0}, body = {0}, answer = {0};
      snprintf(path, sizeof path, "/moby.buildkit.v1.frontend.LLBBridge/%s", method);
      header(&headers, ":method", "POST"); header(&headers, ":scheme", "http"); header(&headers, ":path", path); header(&headers, ":authority", "localhost");
      header(&headers, "content-type", "application/grpc"); header(&headers, "te", "trailers");
      frame(1, 4, stream, headers.at, headers.n);
      unsigned char prefix[5] = {0, message.n >> 24, message.n >> 16, message.n >> 8, message.n};
      add(&body, prefix, 5); add(&body, message.at, message.n);
      frame(0, 1, stream, body.at, body.n);
      for (;;) {
        unsigned char head[9], *data;
        read_all(head, 9);
        size_t n = head[0] << 16 | head[1] << 8 | head[2];
        uint32_t of = (head[5] & 0x7f) << 24 | head[6] << 16 | head[7] << 8 | head[8];
        data = malloc(n + 1);
        read_all(data, n);
        if (head[3] == 4 && !(head[4] & 1)) frame(4, 1, 0, "", 0);
        if (head[3] == 6 && !(head[4] & 1)) frame(6, 1, 0, data, n);
        if (head[3] == 7) exit(73);
        if (of != stream) continue;
        if (head[3] == 3) exit(74);
        if (head[3] == 0) add(&answer, data, n);
        if ((head[3] == 0 || head[3] == 1) && head[4] & 1) break;
      }
      if (answer.n < 5) { fprintf(stderr, "%s was refused\n", method); exit(75); }
      answer.at += 5; answer.n -= 5;
      return answer;
    }

    static struct bytes member(struct bytes message, int id) {
      size_t i = 0;
      while (i < message.n) {
        uint64_t key = 0, size = 0; int shift = 0;
        do { key |= (uint64_t)(message.at[i] & 0x7f) << shift; shift += 7; } while (message.at[i++] & 0x80);
        shift = 0;
        do { size |= (uint64_t)(message.at[i] & 0x7f) << shift; shift += 7; } while (message.at[i++] & 0x80);
        if ((key & 7) != 2) continue;
        if ((int)(key >> 3) == id) return (struct bytes){message.at + i, size};
        i += size;
      }
      return (struct bytes){0, 0};
    }

    static void option(struct bytes *request, const char *key, const char *value) {
      struct bytes entry = {0};
      field(&entry, 1, key, strlen(key)); field(&entry, 2, value, strlen(value));
      field(request, 3, entry.at, entry.n);
    }

    int main(int argc, char **argv) {
      const char *mode = argc > 1 ? argv[1] : "";
      if (!strcmp(mode, "fails")) { fprintf(stderr, "this frontend fails on purpose\n"); return 7; }
      write_all("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
      frame(4, 0, 0, "", 0);
      if (!strcmp(mode, "refuses")) {
        struct bytes status = {0}, request = {0};
        number(&status, 1 << 3); number(&status, 3);
        field(&status, 2, "this frontend refuses", 21);
        field(&request, 2, status.at, status.n);
        call(1, "Return", request);
        return 0;
      }
      struct bytes solve = {0};
      field(&solve, 2, "dockerfile.v0", 13);
      for (int i = 0;; i++) {
        char name[40];
        snprintf(name, sizeof name, "BUILDKIT_FRONTEND_OPT_%d", i);
        char *given = getenv(name), *value = given ? strchr(given, '=') : 0;
        if (!value) break;
        *value++ = 0;
        option(&solve, given, value);
      }
      option(&solve, "build-arg:FROM_FRONTEND", "asked by a frontend image");
      truth(&solve, 5);
      truth(&solve, 6);
      struct bytes result = member(call(1, "Solve", solve), 3), done = {0};
      field(&done, 1, result.at, result.n);
      call(3, "Return", done);
      return 0;
    }
    """#
}
