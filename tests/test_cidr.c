/* test_cidr.c - networks from text, and who is in them. */
#include "rill/core/sys.h"
#include "rill/net/cidr.h"
#include "support/faulty_sys.h"
#include "support/random.h"
#include "support/run_suite.h"
#include <arpa/inet.h>
#include <check.h>

static const struct {
    const char *text;
    int version, bits; /* -1: it is refused */
} table[] = {
    {"10.0.0.0/8", 4, 8},
    {"127.0.0.1", 4, 32},
    {"127.0.0.1/32", 4, 32},
    {"0.0.0.0/0", 4, 0},
    {"128.0.0.0/1", 4, 1},
    {"192.168.4.0/22", 4, 22},
    {"::/0", 6, 0},
    {"::1", 6, 128},
    {"::1/128", 6, 128},
    {"2001:db8::/32", 6, 32},
    {"2001:db8:8000::/33", 6, 33},
    {"::ffff:10.0.0.0/104", 4, 8},
    {"::ffff:10.1.2.3", 4, 32},
    {"::ffff:0:0/96", 4, 0},
    {"::/96", 6, 96},
    {"unix:", 0, 0},
    {"", -1, 0},
    {"/8", -1, 0},
    {"10.0.0.0/", -1, 0},
    {"10.0.0.0/33", -1, 0},
    {"10.0.0.0/-1", -1, 0},
    {"10.0.0.0/8a", -1, 0},
    {"10.0.0.0/ 8", -1, 0},
    {"10.0.0.0/8/8", -1, 0},
    {"10.0.0.0/18446744073709551616", -1, 0},
    {"10.0.0.0/255.0.0.0", -1, 0},
    {"10.0.0.1/8", -1, 0},
    {"10.128.0.0/8", -1, 0},
    {"192.168.4.0/21", -1, 0},
    {"0.0.0.1/0", -1, 0},
    {"10/8", -1, 0},
    {"010.0.0.0/8", -1, 0},
    {"10.0.0/8", -1, 0},
    {"::1/129", -1, 0},
    {"::1/127", -1, 0},
    {"2001:db8:8000::/32", -1, 0},
    {"[::1]", -1, 0},
    {"localhost", -1, 0},
    {"unix", -1, 0},
    {"unix:/path", -1, 0},
    {" 10.0.0.0/8", -1, 0},
    {"0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000", -1, 0},
};

START_TEST(reads_networks)
{
    struct rill_cidr cidr;
    const char *why = NULL;
    int error = rill_cidr_parse(rill_slice_of(table[_i].text), &cidr, &why);
    if (table[_i].version < 0) {
        ck_assert_msg(error == -EINVAL, "\"%s\" was taken", table[_i].text);
        ck_assert_uint_gt(strlen(why), 10);
        ck_assert_int_eq(rill_cidr_parse(rill_slice_of(table[_i].text), &cidr, NULL), -EINVAL);
        return;
    }
    ck_assert_msg(error == 0, "\"%s\" was refused: %s", table[_i].text, why);
    ck_assert_int_eq(cidr.version, table[_i].version);
    ck_assert_int_eq(cidr.bits, table[_i].bits);
}
END_TEST

static struct rill_ip ip_of(const char *text)
{
    struct rill_ip ip = {.version = 0};
    if (inet_pton(AF_INET, text, ip.bytes) == 1)
        ip.version = 4;
    else if (inet_pton(AF_INET6, text, ip.bytes) == 1)
        ip.version = 6;
    return ip;
}

/* The same, bit by bit. */
static bool contains_slowly(const struct rill_cidr *cidr, const struct rill_ip *ip)
{
    if (cidr->version != ip->version)
        return false;
    for (unsigned i = 0; i < cidr->bits; i++)
        if ((cidr->bytes[i / 8] >> (7 - i % 8) & 1) != (ip->bytes[i / 8] >> (7 - i % 8) & 1))
            return false;
    return true;
}

START_TEST(finds_who_is_in_a_network)
{
    struct test_random random = {7};
    unsigned inside = 0;
    for (int round = 0; round < 20000; round++) {
        struct rill_cidr cidr = {.version = test_random_below(&random, 2) ? 4 : 6};
        unsigned size = cidr.version == 4 ? 4 : 16;
        cidr.bits = (uint8_t)test_random_below(&random, 8 * size + 1);
        for (unsigned i = 0; i < cidr.bits; i++)
            cidr.bytes[i / 8] = (uint8_t)(cidr.bytes[i / 8] | test_random_below(&random, 2) << (7 - i % 8));
        /* An address of it, save for one bit. */
        struct rill_ip ip = {.version = cidr.version};
        memcpy(ip.bytes, cidr.bytes, size);
        for (unsigned i = cidr.bits; i < 8 * size; i++)
            ip.bytes[i / 8] = (uint8_t)(ip.bytes[i / 8] | test_random_below(&random, 2) << (7 - i % 8));
        ck_assert(rill_cidr_contains(&cidr, &ip));
        size_t bit = test_random_below(&random, 8 * size);
        ip.bytes[bit / 8] = (uint8_t)(ip.bytes[bit / 8] ^ 1 << (7 - bit % 8));
        ck_assert(rill_cidr_contains(&cidr, &ip) == contains_slowly(&cidr, &ip));
        ck_assert(rill_cidr_contains(&cidr, &ip) == (bit >= cidr.bits));
        inside += rill_cidr_contains(&cidr, &ip);
        ip.version = (uint8_t)(10 - ip.version);
        ck_assert(!rill_cidr_contains(&cidr, &ip));
    }
    ck_assert_uint_gt(inside, 1000);
    ck_assert_uint_lt(inside, 19000);
}
END_TEST

START_TEST(lists_have_several)
{
    int error;
    const char *why;
    struct rill_cidr_list *list = rill_cidr_list_new("10.0.0.0/8,127.0.0.1 ,\t::1/128, unix:", &error, &why);
    ck_assert_ptr_nonnull(list);
    const char *const in[] = {"10.0.0.0", "10.255.255.255", "127.0.0.1", "::1", "unix"};
    const char *const out[] = {"9.255.255.255", "11.0.0.0", "127.0.0.2", "::", "::2", "::7f00:1"};
    for (size_t i = 0; i < rill_array_length(in); i++) {
        struct rill_ip ip = ip_of(in[i]);
        ck_assert_msg(rill_cidr_list_contains(list, &ip), "%s", in[i]);
    }
    for (size_t i = 0; i < rill_array_length(out); i++) {
        struct rill_ip ip = ip_of(out[i]);
        ck_assert_msg(!rill_cidr_list_contains(list, &ip), "%s", out[i]);
    }
    rill_cidr_list_free(list);
    list = rill_cidr_list_new("10.0.0.0/8", &error, &why);
    struct rill_ip local = ip_of("unix");
    ck_assert(!rill_cidr_list_contains(list, &local));
    rill_cidr_list_free(list);
    rill_cidr_list_free(NULL);
    const char *const bad[] = {"",
                               " ",
                               ",",
                               "10.0.0.0/8,",
                               ",10.0.0.0/8",
                               "10.0.0.0/8,,::1",
                               "10.0.0.0/8 ::1",
                               "10.0.0.0/8;::1",
                               "10.0.0.0/8, all"};
    for (size_t i = 0; i < rill_array_length(bad); i++) {
        why = NULL;
        ck_assert_ptr_null(rill_cidr_list_new(bad[i], &error, &why));
        ck_assert_int_eq(error, -EINVAL);
        ck_assert_ptr_nonnull(why);
    }
    faulty_sys.error[FAULTY_MEMORY] = ENOMEM;
    list = rill_cidr_list_new("10.0.0.0/8", &error, &why);
    faulty_sys_reset();
    ck_assert_ptr_null(list);
    ck_assert_int_eq(error, -ENOMEM);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cidr");
    TCase *all = tcase_create("cidr");
    tcase_add_loop_test(all, reads_networks, 0, (int)rill_array_length(table));
    tcase_add_test(all, finds_who_is_in_a_network);
    tcase_add_test(all, lists_have_several);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
