/* SPDX-License-Identifier: Apache-2.0 */
/* Every byte of a notice may come from a payload. A header gets it only as encoded words (RFC 2047) or as printable ASCII without line breaks; the
 * body is quoted-printable, so that no line is long, begins with a dot, or ends in a space, whatever stood in it. Addresses are those of the
 * configuration, and only what mail_is_address takes. */
#include "work/deliver_mail.h"

#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "net/mail.h"
#include "work/notice.h"

enum { LINE_MAX_BYTES = 76, WORD_BYTES = 39, SUBJECT_MAX = 400, ADDRESSES_MAX = 100 };

/* The address in "Name <address>" or "address". */
static struct str bare_address(struct str one)
{
    const char *open = one.n == 0 ? NULL : memrchr(one.p, '<', one.n);
    if (open == NULL || one.p[one.n - 1] != '>')
        return one;
    size_t from = (size_t)(open - one.p) + 1;
    return (struct str){one.p + from, one.n - from - 1};
}

void deliver_addresses_free(char **addresses)
{
    for (size_t i = 0; addresses != NULL && addresses[i] != NULL; i++)
        mem_free(addresses[i]);
    mem_free(addresses);
}

char **deliver_addresses(const char *list, struct err *e)
{
    char **out = mem_zero(ADDRESSES_MAX + 1, sizeof *out);
    size_t n = 0;
    struct str rest = str_of(list);
    while (rest.p != NULL) {
        struct str one = bare_address(str_trim(str_split(&rest, ',')));
        if (n < ADDRESSES_MAX && mail_is_address(one)) {
            out[n++] = mem_dup(one.p, one.n);
            continue;
        }
        deliver_addresses_free(out);
        if (n == ADDRESSES_MAX) {
            err_fail(e, ERR_CONFIG, "a mail has at most %d recipients", ADDRESSES_MAX);
            return NULL;
        }
        struct buf shown = {0};
        notice_line(&shown, one, 80);
        err_fail(e, ERR_CONFIG, "\"%s\" is no mail address; write name@example.org",
                 shown.n != 0 ? shown.p : "");
        buf_finish(&shown);
        return NULL;
    }
    return out;
}

/* Headers. */

/* phrase: a name before an address, where other characters than these have a meaning. */
static bool is_plain(struct str s, bool phrase, size_t max)
{
    if (s.n > max || memmem(s.p, s.n, "=?", 2) != NULL)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    c == ' ' || c == '-' || c == '_';
        if (!word && (phrase || c < 0x20 || c > 0x7e))
            return false;
    }
    return true;
}

/* name: text, as it is if it fits and is ASCII, else as encoded words, a line each, none of which cuts a character. */
static void header_text(struct buf *out, const char *name, struct str text, bool phrase)
{
    struct buf line = {0};
    buf_printf(out, "%s: ", name);
    notice_line(&line, text, SUBJECT_MAX);
    struct str s = str_trim(buf_view(&line));
    if (is_plain(s, phrase, LINE_MAX_BYTES - strlen(name) - 2)) {
        buf_str(out, s);
    } else {
        for (size_t i = 0; i < s.n;) {
            size_t n = s.n - i < WORD_BYTES ? s.n - i : WORD_BYTES;
            while (i + n < s.n && n > 1 && ((unsigned char)s.p[i + n] & 0xC0) == 0x80)
                n--;
            buf_puts(out, i == 0 ? "=?UTF-8?B?" : "\r\n =?UTF-8?B?");
            buf_base64(out, s.p + i, n);
            buf_puts(out, "?=");
            i += n;
        }
    }
    buf_puts(out, "\r\n");
    buf_finish(&line);
}

static bool header_from(struct buf *out, const char *from, struct str *address, struct err *e)
{
    struct str whole = str_trim(str_of(from));
    *address = bare_address(whole);
    if (!mail_is_address(*address))
        return err_fail(e, ERR_CONFIG,
                        "smtp_from is no mail address; set HOOKMESH_SMTP_FROM to "
                        "name@example.org or Name <name@example.org>");
    size_t name_n = address->p == whole.p ? 0 : (size_t)(address->p - whole.p) - 1;
    struct str name = str_trim((struct str){whole.p, name_n});
    if (name.n >= 2 && name.p[0] == '"' && name.p[name.n - 1] == '"')
        name = (struct str){name.p + 1, name.n - 2};
    if (name.n == 0) {
        buf_printf(out, "From: %.*s\r\n", (int)address->n, address->p);
        return true;
    }
    header_text(out, "From", name, true);
    out->n -= 2;
    buf_printf(out, "\r\n <%.*s>\r\n", (int)address->n, address->p);
    return true;
}

static void header_date(struct buf *out, int64_t wall_us)
{
    static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t seconds = (time_t)(wall_us / 1000000);
    struct tm t;
    gmtime_r(&seconds, &t);
    buf_printf(out, "Date: %s, %d %s %d %02d:%02d:%02d +0000\r\n", days[t.tm_wday], t.tm_mday,
               months[t.tm_mon], t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
}

/* The body. */

static void quoted(struct buf *out, struct str text)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t column = 0;
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        bool cr = c == '\r';
        if (cr || c == '\n') {
            if (cr && i + 1 < text.n && text.p[i + 1] == '\n')
                i++;
            buf_puts(out, "\r\n");
            column = 0;
            continue;
        }
        bool ends = i + 1 == text.n || text.p[i + 1] == '\n' || text.p[i + 1] == '\r';
        bool plain = (c > 0x20 && c < 0x7f && c != '=') || ((c == ' ' || c == '\t') && !ends);
        if (c == '.' && column == 0)
            plain = false;
        if (column + (plain ? 1 : 3) > LINE_MAX_BYTES - 1) {
            buf_puts(out, "=\r\n");
            column = 0;
            plain = plain && c != '.';
        }
        if (plain) {
            buf_char(out, (char)c);
            column++;
        } else {
            buf_char(out, '=');
            buf_char(out, hex[c >> 4]);
            buf_char(out, hex[c & 15]);
            column += 3;
        }
    }
    if (column != 0)
        buf_puts(out, "\r\n");
}

bool deliver_letter(struct buf *out, struct buf *message_id, const struct letter *l, struct err *e)
{
    struct str from;
    if (!header_from(out, l->from, &from, e))
        return false;
    for (size_t i = 0; l->to[i] != NULL; i++)
        buf_printf(out, "%s%s", i == 0 ? "To: " : ",\r\n ", l->to[i]);
    buf_puts(out, "\r\n");
    header_text(out, "Subject", l->subject, false);
    header_date(out, l->wall_us);
    const char *at = memrchr(from.p, '@', from.n);
    buf_printf(message_id, "<%.*s%.*s>", (int)l->id.n, l->id.p, (int)(from.p + from.n - at), at);
    buf_printf(out, "Message-ID: %s\r\n", message_id->p);
    buf_puts(out, "Auto-Submitted: auto-generated\r\n"); /* nobody's absence note answers it */
    buf_puts(out, "X-Hookmesh-Run: ");
    buf_url_encode(out, l->run.n < 200 ? l->run : (struct str){l->run.p, 200});
    buf_puts(out, "\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
                  "Content-Transfer-Encoding: quoted-printable\r\n\r\n");
    quoted(out, l->text);
    return true;
}
