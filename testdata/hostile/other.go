package hostile

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// foreignCases are files of other types.
func foreignCases() []Case {
	f := func(name, content string) Case { return reject("ST024", name, []byte(content)) }
	pad := strings.Repeat("\x00", 600_000) // the prefix of a gzip or pickle is a length that fits such a file
	return []Case{
		f("lfs_pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"),
		f("html", "<!DOCTYPE html>\n<html><body>401</body></html>"),
		f("html_after_newline", "\n<html lang=\"en\"><body>404</body></html>"),
		f("xml_error", `<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code></Error>`),
		f("json_config", `{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}`),
		f("json_list", `[{"error": "not found"}]`),
		f("zip", "PK\x03\x04\x14\x00\x00\x00\x08\x00archive/data.pkl"),
		f("zip_empty", "PK\x05\x06"+strings.Repeat("\x00", 18)),
		f("pickle", "\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01K\x01u."),
		f("pickle_runs_a_command", "\x80\x04\x95\x2d\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x8c\x06system\x93\x8c\x18touch /tmp/loratool_pwned\x85R."),
		f("torch_magic", "\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."),
		f("gguf", "GGUF\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
		f("gzip", "\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\x03"),
		f("gzip_whose_length_fits", "\x1f\x8b\x08\x00\x00\x00\x00\x00\xff\x03"+pad),
		f("zstd", "\x28\xb5\x2f\xfd\x04\x58\x00\x00"),
		f("npy", "\x93NUMPY\x01\x00v\x00{'descr': '<f4'}"),
		f("hdf5", "\x89HDF\r\n\x1a\n\x00\x00"),
		accept("begins_like_gzip", File(`{"__metadata__":{"k":"`+strings.Repeat("x", 0x88b1f-len(`{"__metadata__":{"k":""}}`))+`"}}`, 0)),
		accept("begins_like_pickle", File(`{"__metadata__":{"k":"`+strings.Repeat("x", 0x280-len(`{"__metadata__":{"k":""}}`))+`"}}`, 0)),
	}
}

// sparse makes a file of that size with only its first bytes written.
func sparse(head []byte, size int64) func(string) (string, error) {
	return func(dir string) (string, error) {
		path := filepath.Join(dir, "model.safetensors")
		if err := os.WriteFile(path, head, 0o666); err != nil {
			return "", err
		}
		return path, os.Truncate(path, size)
	}
}

// Many returns a legal header of about n tensors and size bytes.
func Many(n, size int) string {
	var b strings.Builder
	b.WriteByte('{')
	pad := strings.Repeat("x", max(0, size/n-65))
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"%07d%s":{"dtype":"U8","shape":[1],"data_offsets":[%d,%d]}`, i, pad, i, i+1)
	}
	b.WriteByte('}')
	return b.String()
}

// repeated returns open, then n copies of the text that item makes, joined by
// commas, then end.
func repeated(open, end string, n int, item func(b *strings.Builder, i int)) func(string) (string, error) {
	return func(dir string) (string, error) {
		var b strings.Builder
		b.WriteString(open)
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			item(&b, i)
		}
		b.WriteString(end)
		path := filepath.Join(dir, "model.safetensors")
		return path, os.WriteFile(path, File(b.String(), 0), 0o666)
	}
}

// bigCases cost a careless reader its memory or its time.
func bigCases() []Case {
	const gib = int64(1 << 30)
	member := func(value string) func(*strings.Builder, int) {
		return func(b *strings.Builder, i int) { fmt.Fprintf(b, `"%x":%s`, i, value) }
	}
	whole := File(Object(Entry("a", "U8", fmt.Sprint("[", 64*gib, "]"), fmt.Sprint("[0,", 64*gib, "]"))), 0)
	return []Case{
		{Name: "sparse_64_gib", Want: "accept", Make: sparse(whole, int64(len(whole))+64*gib)},
		{Name: "st020_sparse_64_gib", Want: "ST020", Make: sparse(File(`{}`, 0), 64*gib)},
		{Name: "st016_sparse_one_short", Want: "ST016", Make: sparse(whole, int64(len(whole))+64*gib-1)},
		{Name: "st005_header_of_zeros", Want: "ST005", Make: sparse(length(100_000_000, ""), gib)},
		{Name: "st002_sparse_over_cap", Want: "ST002", Make: sparse(length(100_000_001, "{"), gib)},
		{Name: "tensors_1_million", Want: "accept", Big: true, Make: func(dir string) (string, error) {
			path := filepath.Join(dir, "model.safetensors")
			const n = 1_150_000
			return path, os.WriteFile(path, File(Many(n, 95_000_000), n), 0o666)
		}},
		{Name: "st009_last_of_1_million", Want: "ST009", Big: true, Make: repeated(`{`, `,"0":{}}`, 1_500_000,
			member(`{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`))},
		{Name: "unsupported_metadata_of_8_million", Want: "unsupported", Big: true, Make: repeated(`{"__metadata__":{`, `}}`, 8_000_000, member(`""`))},
		{Name: "unsupported_fields_of_8_million", Want: "unsupported", Big: true, Make: repeated(`{"a":{`, `}}`, 8_000_000, member(`1`))},
		{Name: "unsupported_dimensions_of_45_million", Want: "unsupported", Big: true, Make: repeated(`{"a":{"shape":[`, `]}}`, 45_000_000,
			func(b *strings.Builder, _ int) { b.WriteByte('0') })},
		{Name: "dimensions_28_million", Want: "accept", Big: true, Make: repeated(`{`, `}`, 450_000,
			member(`{"dtype":"U8","shape":[`+strings.Repeat("0,", 63)+`0],"data_offsets":[0,0]}`))},
		{Name: "st023_90_million_brackets", Want: "ST023", Big: true, Make: func(dir string) (string, error) {
			path := filepath.Join(dir, "model.safetensors")
			return path, os.WriteFile(path, File(strings.Repeat("[", 90_000_000), 0), 0o666)
		}},
		{Name: "many_warnings", Want: "accept", Big: true, Warn: []string{"ST025"}, Make: repeated(`{`, `}`, 200_000,
			func(b *strings.Builder, i int) {
				fmt.Fprintf(b, `"\u202e%x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`, i)
			})},
	}
}

// specialCases are not regular files, or not there.
func specialCases() []Case {
	target := func(path string) func(string) (string, error) {
		return func(string) (string, error) {
			_, err := os.Stat(path)
			return path, err
		}
	}
	link := func(to string) func(string) (string, error) {
		return func(dir string) (string, error) {
			path := filepath.Join(dir, "model.safetensors")
			return path, os.Symlink(to, path)
		}
	}
	return []Case{
		{Name: "st033_fifo", Want: "ST033", Make: fifo},
		{Name: "st033_socket", Want: "ST033", Make: socket},
		{Name: "st033_dev_zero", Want: "ST033", Make: target("/dev/zero")},
		{Name: "st033_dev_null", Want: "ST033", Make: target("/dev/null")},
		{Name: "st033_link_to_device", Want: "ST033", Make: link("/dev/zero")},
		{Name: "st001_proc_file", Want: "ST001", Make: target("/proc/version")},
		{Name: "missing", Want: "error", Make: func(dir string) (string, error) { return filepath.Join(dir, "model.safetensors"), nil }},
		{Name: "symlink_loop", Want: "error", Make: link("model.safetensors")},
		{Name: "symlink_to_nothing", Want: "error", Make: link("gone.safetensors")},
		{Name: "symlink_to_file", Want: "accept", Make: func(dir string) (string, error) {
			if err := os.WriteFile(filepath.Join(dir, "blob"), File(Object(one("a")), 8), 0o666); err != nil {
				return "", err
			}
			path := filepath.Join(dir, "model.safetensors")
			return path, os.Symlink("blob", path)
		}},
		{Name: "file_as_folder", Want: "error", Make: func(dir string) (string, error) {
			path := filepath.Join(dir, "model.safetensors")
			return filepath.Join(path, "x.safetensors"), os.WriteFile(path, File(`{}`, 0), 0o666)
		}},
		{Name: "name_with_nul", Want: "error", Make: func(dir string) (string, error) { return dir + "/a\x00b", nil }},
		{Name: "folder_named_like_a_file", Want: "error", Make: func(dir string) (string, error) {
			path := filepath.Join(dir, "model.safetensors")
			return path, os.Mkdir(path, 0o777)
		}},
		{Name: "read_permission_missing", Want: "error", Make: func(dir string) (string, error) {
			path := filepath.Join(dir, "model.safetensors")
			if err := os.WriteFile(path, File(`{}`, 0), 0); err != nil {
				return "", err
			}
			if f, err := os.Open(path); err == nil {
				f.Close()
				return "", fmt.Errorf("root may read everything on %s", runtime.GOOS)
			}
			return path, nil
		}},
	}
}
