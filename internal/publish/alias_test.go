package publish

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAlias(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(root)
	// A base folder as the Hugging Face cache lays it out, a plain file, and
	// every way of naming them again.
	for _, dir := range []string{"blobs", "snap", "empty", "work"} {
		os.Mkdir(dir, 0o777)
	}
	writeFile("blobs/b1", "weights")
	os.Symlink("../blobs/b1", "snap/model.safetensors")
	os.Symlink("gone", "snap/broken")
	writeFile("file", "weights")
	writeFile("other", "x")
	os.Link("file", "hard")
	os.Symlink("file", "soft")
	os.Symlink("nowhere", "dangling")
	os.Symlink("snap", "snaplink")
	os.Link("blobs/b1", "blobhard")

	tests := []struct {
		name, output, input string
		want                string // empty: no alias
	}{
		{"same path", "file", "file", "is the input"},
		{"other spelling", "./work/../file", "file", "is the input"},
		{"absolute", filepath.Join(root, "file"), "file", "is the input"},
		{"hard link", "hard", "file", "is the input"},
		{"symbolic link", "soft", "file", "is the input"},
		{"input by link", "file", "soft", "is the input"},
		{"broken link", "dangling", "file", "broken symbolic link"},
		{"same folder", "new", "file", ""},
		{"other file", "other", "file", ""},
		{"file beside folder", "new", "snap", ""},
		{"folder itself", "snap", "snap", "is the input"},
		{"folder by link", "snaplink", "snap", "is the input"},
		{"file in input folder", "snap/new", "snap", "inside the input"},
		{"folder in input folder", "snap/deep/er", "snap", "inside the input"},
		{"through a link", "snaplink/new", "snap", "inside the input"},
		{"file of a folder", "blobs/b1", "snap", "is the input"},
		{"hard link of a file of a folder", "blobhard", "snap", "is the input"},
		{"input inside output", "snap", "snap/model.safetensors", "holds the input"},
		{"link target inside output", "blobs", "snap/model.safetensors", "holds the input"},
		{"link targets of a folder inside output", "blobs", "snap", "holds the input"},
		{"above everything", ".", "file", "holds the input"},
		{"empty output folder", "empty", "snap", ""},
		{"missing parents", "work/a/b/c", "snap", ""},
		{"prefix of a name", "snapshot", "snap", ""},
	}
	for _, tt := range tests {
		got := ""
		if err := Alias(tt.output, tt.input); err != nil {
			got = err.Error()
		}
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	if err := Alias("file", "other", "file"); err == nil {
		t.Error("only the first input was compared")
	}
	if err := Alias("new", "missing"); err == nil {
		t.Error("a missing input was accepted")
	}
}
