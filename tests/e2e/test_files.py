"""rill-httpd: files, folders, types, conditions, ranges, and nothing outside the root."""
import email.utils
import fcntl
import os
import random
import re
import signal
import socket
import time
import urllib.parse

from support import E2ETest, Server, SharedServerTest, make_request, wait_until, write_file

SECRET = b"SECRET that nobody may see"
DIGITS = b"".join(b"%09d\n" % i for i in range(100))  # 1000 bytes, each line its own
OLD = 1600000000  # Sun, 13 Sep 2020 12:26:40 GMT


def http_date(seconds):
    return email.utils.formatdate(seconds, usegmt=True)


class Site(SharedServerTest):
    @classmethod
    def make_server(cls):
        cls.root = os.path.join(cls.class_folder, "root")
        write_file(f"{cls.root}/index.html", b"<h1>home</h1>", OLD)
        write_file(f"{cls.root}/digits.txt", DIGITS, OLD)
        write_file(f"{cls.root}/empty.txt", b"")
        write_file(f"{cls.root}/large.bin", random.Random(1).randbytes(3 << 20))
        write_file(f"{cls.root}/sub/index.html", b"<h1>sub</h1>")
        write_file(f"{cls.root}/bare/a file & <b>.txt", b"odd")
        write_file(f"{cls.root}/bare/100%.txt", b"percent")
        write_file(f"{cls.root}/bare/\u00e4.txt", b"umlaut")
        write_file(f"{cls.root}/bare/a+b?c#d;e.txt", b"signs")
        write_file(f"{cls.root}/bare/deep/x.txt", b"x")
        for name in ("a.html", "a.css", "a.js", "a.json", "a.png", "a.jpg", "a.svg", "a.txt", "a.pdf", "a.wasm", "a.xyzzy", "noext",
                     "a.HTML", "a.woff2"):
            write_file(f"{cls.root}/types/{name}", b"type")
        write_file(f"{cls.class_folder}/secret.txt", SECRET)
        write_file(f"{cls.class_folder}/root-2/secret.txt", SECRET)
        os.symlink("../secret.txt", f"{cls.root}/out.txt")
        os.symlink(f"{cls.class_folder}/secret.txt", f"{cls.root}/absolute-out.txt")
        os.symlink("..", f"{cls.root}/out")
        os.symlink("/", f"{cls.root}/filesystem")
        os.symlink("sub/../../secret.txt", f"{cls.root}/winding.txt")
        os.symlink("digits.txt", f"{cls.root}/in.txt")
        os.symlink("../digits.txt", f"{cls.root}/sub/up.txt")
        os.symlink("sub", f"{cls.root}/in")
        os.symlink("loop", f"{cls.root}/loop")
        os.symlink("nothing", f"{cls.root}/dangling")
        os.mkfifo(f"{cls.root}/fifo")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{cls.root}/socket")
        listener.close()
        return Server("rill-httpd", "--threads", 1, cls.root)

    def get(self, target, *headers, method="GET"):
        return self.server.get(target, headers, method)

    # --- plain files ---

    def test_file(self):
        response = self.get("/digits.txt")
        self.assertEqual((response.status, response.body), (200, DIGITS))
        self.assertEqual(response.header("Content-Length"), "1000")
        self.assertEqual(response.header("Last-Modified"), http_date(OLD))
        self.assertTrue(re.fullmatch(r'"[\x21\x23-\x7e]+"', response.header("ETag")), "not a strong ETag")
        self.assertEqual(response.header("Accept-Ranges"), "bytes")

    def test_file_sizes(self):
        rng = random.Random(2)
        for size in (0, 1, 1023, 4096, 4097, 65535, 65536, 65537, 200001, 1 << 20):
            content = rng.randbytes(size)
            write_file(f"{self.root}/sized-{size}", content)
            with self.subTest(size):
                for _ in range(2):  # from the disk, and from the cache
                    response = self.get(f"/sized-{size}")
                    self.assertEqual((response.status, len(response.body)), (200, size))
                    self.assertEqual(response.body, content)

    def test_large_file_whole(self):
        with open(f"{self.root}/large.bin", "rb") as file:
            content = file.read()
        with self.server.connect() as client:
            for _ in range(3):
                self.assertEqual(client.request("GET", "/large.bin").body, content)

    def test_large_files_pipelined(self):
        with open(f"{self.root}/large.bin", "rb") as file:
            content = file.read()
        with self.server.connect() as client:
            client.send((make_request("GET", "/large.bin") + make_request("GET", "/digits.txt")) * 4)
            for _ in range(4):
                self.assertEqual(client.read_response().body, content)
                self.assertEqual(client.read_response().body, DIGITS)

    def test_head_equals_get(self):
        for target in ("/", "/digits.txt", "/large.bin", "/empty.txt", "/sub", "/sub/", "/nothing", "/bare/", "/out.txt"):
            with self.subTest(target), self.server.connect() as client:
                get = client.request("GET", target)
                head = client.request("HEAD", target)
                self.assertEqual(head.status, get.status)
                self.assertEqual([h for h in head.headers if h[0] != "Date"], [h for h in get.headers if h[0] != "Date"])
                self.assertEqual(client.request("GET", "/digits.txt").body, DIGITS)

    def test_index(self):
        self.assertEqual(self.get("/").body, b"<h1>home</h1>")
        self.assertEqual(self.get("/sub/").body, b"<h1>sub</h1>")
        self.assertEqual(self.get("/sub/index.html").body, b"<h1>sub</h1>")
        self.assertTrue(self.get("/").header("Content-Type").startswith("text/html"))

    def test_not_found(self):
        for target in ("/nothing", "/sub/nothing", "/digits.txt/", "/digits.txt/x", "/nothing/", "/dangling", "/loop",
                       "/" + "a" * 300, "/sub/" + "x/" * 100):
            with self.subTest(target):
                response = self.get(target)
                self.assertEqual(response.status, 404)
                self.assertTrue(response.complete)

    def test_query_is_ignored(self):
        self.assertEqual(self.get("/digits.txt?v=1&x=%2e%2e").body, DIGITS)

    def test_names_that_need_escapes(self):
        for name, body in (("a file & <b>.txt", b"odd"), ("100%.txt", b"percent"), ("\u00e4.txt", b"umlaut"),
                           ("a+b?c#d;e.txt", b"signs")):
            with self.subTest(name):
                self.assertEqual(self.get("/bare/" + urllib.parse.quote(name)).body, body)
                everything = "".join(f"%{b:02x}" for b in name.encode())
                self.assertEqual(self.get("/bare/" + everything).body, body)

    def test_types(self):
        for name, expected in (("a.html", "text/html"), ("a.css", "text/css"), ("a.js", "(text|application)/javascript"),
                               ("a.json", "application/json"), ("a.png", "image/png"), ("a.jpg", "image/jpeg"),
                               ("a.svg", r"image/svg\+xml"), ("a.txt", "text/plain"), ("a.pdf", "application/pdf"),
                               ("a.wasm", "application/wasm"), ("a.xyzzy", "application/octet-stream"),
                               ("noext", "application/octet-stream"), ("a.HTML", "text/html"), ("a.woff2", "font/woff2")):
            with self.subTest(name):
                self.assertRegex(self.get(f"/types/{name}").header("Content-Type") or "", f"^{expected}(;|$)")

    def test_what_is_no_file_is_not_served(self):
        for target in ("/fifo", "/socket"):
            with self.subTest(target):
                self.assertIn(self.get(target).status, (403, 404))

    def test_redirect_to_the_folder(self):
        for target, expected in (("/sub", "/sub/"), ("/sub?x=1", "/sub/?x=1"), ("/bare", "/bare/"), ("/in", "/in/")):
            with self.subTest(target):
                response = self.get(target)
                self.assertIn(response.status, (301, 308))
                self.assertRegex(response.header("Location"), "^(http://test)?" + re.escape(expected) + "$")

    def test_redirect_stays_here(self):
        for target in ("//sub", "///sub", "/%2fsub", "//test/../sub", "http://test//sub"):
            with self.subTest(target):
                location = self.get(target).header("Location")
                if location is not None:
                    self.assertRegex(location, "^(http://test)?/[^/]")

    def test_redirect_cannot_carry_fields(self):
        os.makedirs(f"{self.root}/a\r\nX: y", exist_ok=True)
        response = self.get("/a%0d%0aX:%20y")
        self.assertIsNone(response.header("X"))

    def test_listing_is_off(self):
        response = self.get("/bare/")
        self.assertEqual(response.status, 403)
        self.assertNotIn(b"percent", response.body)
        self.assertNotIn(b"100%", response.body)

    def test_methods(self):
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            with self.subTest(method):
                response = self.get("/digits.txt", method=method)
                self.assertEqual(response.status, 405)
                allow = response.header("Allow")
                self.assertTrue("GET" in allow and "HEAD" in allow, allow)
        with self.server.connect() as client:
            client.send(make_request("POST", "/digits.txt", body=b"x" * 1000))
            self.assertEqual(client.read_response().status, 405)
            self.assertEqual(client.request("GET", "/digits.txt").body, DIGITS)
        for target in ("*", "/digits.txt"):
            self.assertIn(self.get(target, method="OPTIONS").status, (200, 204))

    # --- nothing outside the root ---

    def test_traversal(self):
        up = ["..", "%2e%2e", ".%2e", "%2E.", "%252e%252e", "..%00", "%2e%2e%00", "..;", "....", "..%c0%af", "%c0%ae%c0%ae",
              "%u002e%u002e", "..%20", "..."]
        between = ["/", "%2f", "%5c", "%252f", "\\", "//", "/./"]
        targets = [f"/{u}{b}secret.txt" for u in up for b in between]
        targets += [f"/sub/{u}{b}{u}{b}secret.txt" for u in up for b in between]
        targets += [f"/sub{b}{u}{b}{u}{b}root-2{b}secret.txt" for u in up for b in between]
        outside = f"{self.class_folder}/secret.txt"
        targets += [outside, "/" + outside, "//" + outside, "/%2f" + outside[1:], f"file://{outside}", "/etc/passwd", "//etc/passwd",
                    "/..", "/../", "/sub/../..", "/../root-2/secret.txt", "/sub/../../root-2/secret.txt",
                    "/..%2froot-2%2fsecret.txt", "/out.txt", "/absolute-out.txt", "/winding.txt", "/out/secret.txt",
                    "/out/root/digits.txt", "/filesystem" + outside, "/filesystem/etc/passwd", "/out/", "/filesystem/",
                    "/digits.txt%00.html", "/proc/self/environ", "/digits.txt/../../secret.txt",
                    "/nothing/../../secret.txt", "/sub/..%5c..%5csecret.txt", "../secret.txt", "..\\secret.txt"]
        for target in targets:
            with self.subTest(target), self.server.connect() as client:
                client.send(make_request("GET", target, ["Connection: close"]))
                response = client.read_response()
                self.assertNotIn(b"SECRET", response.body)
                self.assertNotIn(b"root:x:", response.body)
                self.assertNotIn(b"secret.txt", response.body if response.status == 200 else b"")
                if response.status == 200:  # `..` was taken out of the path, and what is left is in the root
                    self.assertIn(response.body, (b"<h1>home</h1>", b"<h1>sub</h1>"))
                else:
                    self.assertIn(response.status, (301, 308, 400, 403, 404))

    def test_dot_segments_inside_the_root(self):
        for target in ("/./digits.txt", "/sub/../digits.txt", "/sub/%2e%2e/digits.txt", "/sub/./../digits.txt"):
            with self.subTest(target):
                self.assertEqual(self.get(target).body, DIGITS)

    def test_links_inside_the_root(self):
        for target, body in (("/in.txt", DIGITS), ("/sub/up.txt", DIGITS), ("/in/index.html", b"<h1>sub</h1>"),
                             ("/in/", b"<h1>sub</h1>")):
            with self.subTest(target):
                response = self.get(target)
                self.assertEqual((response.status, response.body), (200, body))

    # --- conditions ---

    def test_if_none_match(self):
        etag = self.get("/digits.txt").header("ETag")
        table = [(etag, 304), ("*", 304), (f'"x", {etag}', 304), (f'{etag}, "x"', 304), (f"W/{etag}", 304),
                 (f'"a,b" ,, {etag}', 304), ('"x"', 200), ('W/"x"', 200), (etag.strip('"'), 200), (f'"x{etag[1:]}', 200)]
        for value, status in table:
            with self.subTest(value):
                self.assertEqual(self.get("/digits.txt", f"If-None-Match: {value}").status, status)

    def test_not_modified_has_what_a_cache_needs(self):
        full = self.get("/digits.txt")
        with self.server.connect() as client:
            client.send(make_request("GET", "/digits.txt", [f"If-None-Match: {full.header('ETag')}"]))
            response = client.read_response()
            self.assertEqual(response.status, 304)
            for name in ("ETag", "Cache-Control", "Content-Location", "Expires", "Vary"):
                self.assertEqual(response.header(name), full.header(name), name)
            self.assertIn(response.header("Content-Length"), (None, "1000"))
            self.assertIsNone(response.header("Content-Type"))
            self.assertEqual(client.request("GET", "/digits.txt").body, DIGITS)  # no stray body before it

    def test_not_modified_for_head(self):
        etag = self.get("/digits.txt").header("ETag")
        self.assertEqual(self.get("/digits.txt", f"If-None-Match: {etag}", method="HEAD").status, 304)

    def test_if_modified_since(self):
        rfc850 = time.strftime("%A, %d-%b-%y %H:%M:%S GMT", time.gmtime(OLD))
        asctime = time.strftime("%a %b %e %H:%M:%S %Y", time.gmtime(OLD))
        table = [(http_date(OLD), 304), (http_date(OLD + 1), 304), (http_date(OLD - 1), 200), (rfc850, 304), (asctime, 304),
                 ("yesterday", 200), ("", 200), ("Sun, 32 Sep 2020 12:26:40 GMT", 200), (http_date(OLD).replace("GMT", "CET"), 200)]
        for value, status in table:
            with self.subTest(value):
                self.assertEqual(self.get("/digits.txt", f"If-Modified-Since: {value}").status, status)

    def test_if_match(self):
        etag = self.get("/digits.txt").header("ETag")
        table = [(etag, 200), ("*", 200), (f'"x", {etag}', 200), ('"x"', 412), (f"W/{etag}", 412)]
        for value, status in table:
            with self.subTest(value):
                self.assertEqual(self.get("/digits.txt", f"If-Match: {value}").status, status)

    def test_if_unmodified_since(self):
        for value, status in ((http_date(OLD), 200), (http_date(OLD + 1), 200), (http_date(OLD - 1), 412), ("nonsense", 200)):
            with self.subTest(value):
                self.assertEqual(self.get("/digits.txt", f"If-Unmodified-Since: {value}").status, status)

    def test_precedence_of_conditions(self):
        etag = self.get("/digits.txt").header("ETag")
        before, after = http_date(OLD - 10), http_date(OLD + 10)
        table = [
            ([f"If-Match: {etag}", f"If-Unmodified-Since: {before}"], 200),
            (['If-Match: "x"', f"If-Unmodified-Since: {after}"], 412),
            ([f"If-None-Match: {etag}", f"If-Modified-Since: {before}"], 304),
            (['If-None-Match: "x"', f"If-Modified-Since: {after}"], 200),
            ([f"If-Match: {etag}", f"If-None-Match: {etag}"], 304),
            (['If-Match: "x"', f"If-None-Match: {etag}"], 412),
        ]
        for headers, status in table:
            with self.subTest(headers):
                self.assertEqual(self.get("/digits.txt", *headers).status, status)

    def test_conditions_do_not_make_missing_files(self):
        self.assertEqual(self.get("/nothing", "If-None-Match: *").status, 404)

    # --- ranges ---

    def test_single_range(self):
        for target in ("/digits.txt", "/large.bin"):
            with open(self.root + target, "rb") as file:
                content = file.read()
            size = len(content)
            table = [("0-0", 0, 1), ("0-9", 0, 10), ("10-19", 10, 20), ("990-", 990, size), ("0-", 0, size), ("-10", size - 10, size),
                     (f"0-{size + 5}", 0, size), (f"-{size + 5}", 0, size), (f"{size - 1}-{size - 1}", size - 1, size),
                     (f"{size - 1}-", size - 1, size), ("5-99999999999999999999999", 5, size)]
            for value, begin, end in table:
                with self.subTest(target, range=value):
                    response = self.get(target, f"Range: bytes={value}")
                    self.assertEqual(response.status, 206)
                    self.assertEqual(response.body, content[begin:end])
                    self.assertEqual(response.header("Content-Range"), f"bytes {begin}-{end - 1}/{size}")
                    self.assertEqual(response.header("ETag"), self.get(target).header("ETag"))

    def test_ranges_that_are_none(self):
        for value in ("bytes=5-2", "bytes=a-b", "bytes=", "bytes=-", "bytes=1", "items=0-1", "bytes 0-1", "bytes=0-1,x",
                      "bytes=--1", "bytes=+1-2", "bytes=1-+2"):
            with self.subTest(value):
                response = self.get("/digits.txt", f"Range: {value}")
                self.assertEqual((response.status, response.body), (200, DIGITS))
                self.assertIsNone(response.header("Content-Range"))

    def test_unsatisfiable(self):
        for value in ("1000-", "1000-2000", "99999999999-", "-0", "99999999999999999999999999-"):
            with self.subTest(value):
                response = self.get("/digits.txt", f"Range: bytes={value}")
                self.assertEqual(response.status, 416)
                self.assertEqual(response.header("Content-Range"), "bytes */1000")
                self.assertNotIn(b"000000", response.body)

    def test_range_of_nothing(self):
        self.assertIn(self.get("/empty.txt", "Range: bytes=0-").status, (200, 416))
        self.assertIn(self.get("/empty.txt", "Range: bytes=-5").status, (200, 416))

    def parts(self, response):
        match = re.fullmatch(r'multipart/byteranges; ?boundary="?([^"]+)"?', response.header("Content-Type"))
        self.assertTrue(match, response.headers)
        boundary = match.group(1).encode()
        pieces = (b"\r\n" + response.body).split(b"\r\n--" + boundary)
        self.assertEqual(pieces[0], b"")
        self.assertIn(pieces[-1], (b"--", b"--\r\n"))
        parts = []
        for piece in pieces[1:-1]:
            self.assertTrue(piece.startswith(b"\r\n"))
            head, body = piece[2:].split(b"\r\n\r\n", 1)
            fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
            begin, end, size = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", fields["Content-Range"]).groups()
            self.assertTrue(fields.get("Content-Type"))
            parts.append((int(begin), int(end) + 1, int(size), body))
        return parts

    def test_many_ranges(self):
        for target in ("/digits.txt", "/large.bin"):
            with open(self.root + target, "rb") as file:
                content = file.read()
            size = len(content)
            for value, expected in (("0-9,20-29", [(0, 10), (20, 30)]), ("0-0, -1", [(0, 1), (size - 1, size)]),
                                    ("20-29,0-9", [(20, 30), (0, 10)]), ("0-9,5000000000-,30-39", [(0, 10), (30, 40)]),
                                    ("100-199,300-599,700-", [(100, 200), (300, 600), (700, size)])):
                with self.subTest(target, range=value):
                    response = self.get(target, f"Range: bytes={value}")
                    self.assertEqual(response.status, 206)
                    self.assertIsNone(response.header("Content-Range"))
                    parts = self.parts(response)
                    self.assertEqual(sorted(p[:2] for p in parts), sorted(expected))
                    for begin, end, whole, body in parts:
                        self.assertEqual((whole, body), (size, content[begin:end]))

    def test_hostile_ranges_cost_little(self):
        for value in (",".join(["0-"] * 500), ",".join(f"{i}-{i + 500}" for i in range(300)), "0-,1-,2-,3-,4-,5-"):
            response = self.get("/digits.txt", f"Range: bytes={value}")
            self.assertIn(response.status, (200, 206, 416))
            self.assertLess(len(response.body), 100000)

    def test_head_ignores_range(self):
        response = self.get("/digits.txt", "Range: bytes=0-9", method="HEAD")
        self.assertIn(response.status, (200, 206))

    def test_if_range(self):
        etag = self.get("/digits.txt").header("ETag")
        for value, status in ((etag, 206), (http_date(OLD), 206), ('"x"', 200), (f"W/{etag}", 200), (http_date(OLD + 1), 200),
                              (http_date(OLD - 1), 200), ("nonsense", 200)):
            with self.subTest(value):
                response = self.get("/digits.txt", "Range: bytes=0-9", f"If-Range: {value}")
                self.assertEqual(response.status, status)
                self.assertEqual(response.body, DIGITS[:10] if status == 206 else DIGITS)

    def test_conditions_come_before_ranges(self):
        etag = self.get("/digits.txt").header("ETag")
        self.assertEqual(self.get("/digits.txt", "Range: bytes=0-9", f"If-None-Match: {etag}").status, 304)
        self.assertEqual(self.get("/digits.txt", "Range: bytes=0-9", 'If-Match: "x"').status, 412)
        self.assertEqual(self.get("/digits.txt", "Range: bytes=0-9", f"If-Match: {etag}").status, 206)


class Options(E2ETest):
    def test_index_of_another_name(self):
        root = self.folder()
        write_file(f"{root}/index.html", b"index")
        write_file(f"{root}/start.html", b"start")
        self.assertEqual(self.httpd(root, "--index", "start.html").get("/").body, b"start")
        self.assertEqual(self.httpd(root, "--index", "nothing.html").get("/").status, 403)
        self.assertEqual(self.httpd(root, "--index", "").get("/").status, 403)
        self.assertEqual(self.httpd(root, "--index", "").get("/index.html").body, b"index")

    def test_table_of_types(self):
        root = self.folder()
        for name in ("a.cow", "a.txt", "a.none"):
            write_file(f"{root}/{name}", b"x")
        table = f"{self.folder()}/types"
        write_file(table, b"# a comment\nanimal/cow\tcow calf\n\ntext/other txt\n")
        server = self.httpd(root, "--mime-types", table)
        self.assertEqual(server.get("/a.cow").header("Content-Type"), "animal/cow")
        self.assertRegex(server.get("/a.txt").header("Content-Type"), "^text/other(;|$)")
        self.assertEqual(server.get("/a.none").header("Content-Type"), "application/octet-stream")

    def test_small_cache(self):
        root = self.folder()
        for i in range(50):
            write_file(f"{root}/{i}", bytes([65 + i % 26]) * 10000)
        server = self.httpd(root, "--cache-bytes", "64k", "--threads", 1)
        with server.connect() as client:
            for i in list(range(50)) * 3:
                self.assertEqual(client.request("GET", f"/{i}").body, bytes([65 + i % 26]) * 10000)

    def test_files_beyond_four_gigabytes(self):
        root = self.folder()
        size = 10_000_000_000
        with open(f"{root}/huge", "wb") as file:
            file.truncate(size)
            file.seek(5_000_000_000)
            file.write(b"middle")
            file.seek(size - 3)
            file.write(b"end")
        server = self.httpd(root, "--threads", 1)
        self.assertEqual(server.get("/huge", method="HEAD").header("Content-Length"), str(size))
        self.assertEqual(server.get("/huge", ["Range: bytes=5000000000-5000000005"]).body, b"middle")
        self.assertEqual(server.get("/huge", ["Range: bytes=-3"]).body, b"end")
        response = server.get("/huge", ["Range: bytes=9999999990-"])
        self.assertEqual(response.header("Content-Range"), f"bytes 9999999990-9999999999/{size}")
        parts = server.get("/huge", ["Range: bytes=5000000000-5000000005,9999999997-"])
        self.assertTrue(b"middle" in parts.body and b"end" in parts.body)


class Listing(E2ETest):
    def test_listing(self):
        root = self.folder()
        names = ["plain.txt", "a file & <b>'\".txt", "100%.txt", "\u00e4.txt", "a+b?c#d.txt", "javascript:alert(1)"]
        for name in names:
            write_file(f"{root}/list/{name}", name.encode())
        write_file(f"{root}/list/sub/x", b"")
        write_file(f"{root}/index.html", b"home")
        write_file(f"{root}/with/index.html", b"index")
        server = self.httpd(root, "--listing", "--threads", 1)
        self.assertEqual(server.get("/").body, b"home")
        self.assertEqual(server.get("/with/").body, b"index")
        response = server.get("/list/")
        self.assertEqual(response.status, 200)
        self.assertTrue(response.header("Content-Type").startswith("text/html"))
        page = response.body.decode()
        self.assertNotIn("<b>", page)
        links = re.findall(r'href="([^"]*)"', page)
        for name in names:
            with self.subTest(name):
                found = [l for l in links if self.follow(server, "/list/", l).body == name.encode()]
                self.assertTrue(found, f"no link to {name} in {links}")
        self.assertTrue([l for l in links if urllib.parse.urljoin("http://test/list/", l).endswith("/list/sub/")], links)
        self.assertEqual(server.get("/list").status, 301)
        head = server.get("/list/", method="HEAD")
        self.assertEqual(head.header("Content-Length"), response.header("Content-Length"))

    def follow(self, server, base, link):
        link = link.replace("&amp;", "&").replace("&#39;", "'")
        url = urllib.parse.urlsplit(urllib.parse.urljoin(f"http://test{base}", link))
        return server.get(url.path) if url.netloc == "test" else server.get("/nothing")

    def test_listing_of_a_large_folder(self):
        root = self.folder()
        for i in range(3000):
            open(f"{root}/file-{i:05}.txt", "w").close()
        server = self.httpd(root, "--listing", "--threads", 1)
        page = server.get("/").body.decode()
        self.assertEqual(len(set(re.findall(r"file-\d{5}\.txt", page))), 3000)

    def test_links_that_lead_out_are_not_served(self):
        root = self.folder()
        outside = self.folder()
        write_file(f"{outside}/secret.txt", SECRET)
        os.symlink(outside, f"{root}/out")
        server = self.httpd(root, "--listing", "--threads", 1)
        self.assertNotIn(b"secret", server.get("/out/").body)


class Changing(E2ETest):
    """Files that change, shrink or vanish while they are served end that one response cleanly."""
    threaded = True

    def setUp(self):
        self.root = self.folder()
        write_file(f"{self.root}/small.txt", b"small")

    def start_download(self, server, name, size):
        client = server.connect(receive_buffer=16384)
        self.addCleanup(client.close)
        client.send(make_request("GET", f"/{name}"))
        version, status, reason, headers, raw = client.read_head()
        self.assertEqual(status, 200)
        self.assertIn(("Content-Length", str(size)), headers)
        return client

    def finish_download(self, server, client, size):
        """Reads the rest: the whole of it, or less and then the end of the connection; never more."""
        data = client.read_bytes(size)
        if len(data) == size:
            self.assertEqual(client.request("GET", "/small.txt").body, b"small")
        else:
            self.assertTrue(client.is_closed())
        self.assertEqual(server.get("/small.txt").body, b"small")
        return data

    def test_truncated(self):
        size = 64 << 20
        for left in (0, 100000):
            with open(f"{self.root}/big", "wb") as file:
                file.truncate(size)
            server = self.httpd(self.root, "--threads", 1)
            client = self.start_download(server, "big", size)
            os.truncate(f"{self.root}/big", left)
            self.assertLess(len(self.finish_download(server, client, size)), size)
            server.stop()

    def test_deleted(self):
        size = 32 << 20
        with open(f"{self.root}/big", "wb") as file:
            file.truncate(size)
        server = self.httpd(self.root, "--threads", 1)
        client = self.start_download(server, "big", size)
        os.unlink(f"{self.root}/big")
        self.finish_download(server, client, size)
        wait_until(lambda: server.get("/big").status == 404, "the deleted file to be gone")

    def test_replaced(self):
        size = 16 << 20
        write_file(f"{self.root}/big", b"a" * size)
        server = self.httpd(self.root, "--threads", 1)
        client = self.start_download(server, "big", size)
        write_file(f"{self.root}/new", b"b" * size)
        os.rename(f"{self.root}/new", f"{self.root}/big")
        data = self.finish_download(server, client, size)
        self.assertEqual(set(data), {ord("a")}, "two files in one response")
        wait_until(lambda: server.get("/big").body == b"b" * size, "the new file")

    def test_grown(self):
        size = 16 << 20
        write_file(f"{self.root}/big", b"a" * size)
        server = self.httpd(self.root, "--threads", 1)
        client = self.start_download(server, "big", size)
        with open(f"{self.root}/big", "ab") as file:
            file.write(b"b" * 1000)
        data = self.finish_download(server, client, size)
        self.assertEqual(set(data), {ord("a")})

    def test_a_changed_file_is_served_changed(self):
        server = self.httpd(self.root, "--threads", 2)
        for size in (10, 100000, 1 << 20):  # kept in memory, and not
            path = f"{self.root}/changing-{size}"
            write_file(path, b"a" * size)
            etag = None
            for letter in b"abcd":
                body = bytes([letter]) * size
                write_file(path, body)
                with server.connect() as client:
                    response = wait_until(lambda: (r := client.request("GET", f"/changing-{size}")).body == body and r,
                                          f"{path} to change")
                self.assertNotEqual(response.header("ETag"), etag)
                etag = response.header("ETag")

    def test_a_new_file_appears(self):
        server = self.httpd(self.root, "--threads", 1)
        self.assertEqual(server.get("/later.txt").status, 404)
        write_file(f"{self.root}/later.txt", b"later")
        wait_until(lambda: server.get("/later.txt").status == 200, "the new file")

    def test_a_file_becomes_a_folder(self):
        server = self.httpd(self.root, "--threads", 1)
        write_file(f"{self.root}/thing", b"file")
        self.assertEqual(server.get("/thing").body, b"file")
        os.unlink(f"{self.root}/thing")
        write_file(f"{self.root}/thing/index.html", b"folder")
        wait_until(lambda: server.get("/thing").status == 301, "the folder")
        self.assertEqual(server.get("/thing/").body, b"folder")

    def test_more_files_than_any_cache_has(self):
        for i in range(1500):
            write_file(f"{self.root}/many/{i}", str(i).encode() * 50)
        server = self.httpd(self.root, "--threads", 2)
        rng = random.Random(4)
        with server.connect() as client:
            for _ in range(3000):
                i = rng.randrange(1500)
                self.assertEqual(client.request("GET", f"/many/{i}").body, str(i).encode() * 50)
        self.assertLess(server.descriptors(), 1300)

    def test_many_changes_under_load(self):
        """Writers replace files while readers read them: each response is of one version, whole."""
        server = self.httpd(self.root, "--threads", 2)
        names = [f"f{i}" for i in range(4)]
        sizes = (100, 70000, 300000, 5)
        for name, size in zip(names, sizes):
            write_file(f"{self.root}/{name}", b"0" * size)
        stop = []

        def write():
            i = 0
            while not stop:
                i += 1
                for name, size in zip(names, sizes):
                    write_file(f"{self.root}/{name}.new", b"%d" % (i % 10) * size)
                    os.rename(f"{self.root}/{name}.new", f"{self.root}/{name}")
                time.sleep(0.02)

        def read():
            with server.connect() as client:
                for i in range(150):
                    name = names[i % 4]
                    response = client.request("GET", f"/{name}")
                    self.assertEqual((response.status, len(response.body)), (200, sizes[i % 4]))
                    self.assertEqual(len(set(response.body)), 1, "two versions in one response")

        joins = [self.in_background(read) for _ in range(3)]
        writer = self.in_background(write)
        try:
            for join in joins:
                join()
        finally:
            stop.append(True)
            writer()

    def test_clients_who_leave_in_the_middle(self):
        size = 32 << 20
        with open(f"{self.root}/big", "wb") as file:
            file.truncate(size)
        server = self.httpd(self.root, "--threads", 2)
        self.assertEqual(server.get("/small.txt").body, b"small")
        for i in range(40):
            client = self.start_download(server, "big", size)
            client.reset() if i % 2 else client.close()
        self.assertEqual(server.get("/small.txt").body, b"small")
        wait_until(lambda: server.descriptors() < 40, "the descriptors to be closed")


class OpenElsewhere(E2ETest):
    """Opening a file that somebody holds a lease on blocks for as long as the holder likes. Only a worker may wait."""

    def test_a_blocked_open_blocks_nobody_else(self):
        root = self.folder()
        write_file(f"{root}/small.txt", b"small")
        write_file(f"{root}/leased.txt", b"leased")
        server = self.httpd(root, "--threads", 0)
        self.assertEqual(server.get("/small.txt").body, b"small")
        signal.signal(signal.SIGIO, signal.SIG_IGN)  # what the kernel asks the holder with
        descriptor = os.open(f"{root}/leased.txt", os.O_RDWR)
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError as error:
            os.close(descriptor)
            self.skipTest(f"no leases on this file system: {error}")
        try:
            with server.connect() as waiting, server.connect() as other:
                waiting.send(make_request("GET", "/leased.txt"))
                waiting.wait_until_read()
                for _ in range(50):  # the lease is broken by force only after 45 s
                    self.assertEqual(other.request("GET", "/small.txt").body, b"small")
                fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
                self.assertIn(waiting.read_response().status, (200, 503))
        finally:
            os.close(descriptor)
