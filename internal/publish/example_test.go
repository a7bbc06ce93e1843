package publish_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/loratool/loratool/internal/publish"
)

func Example() {
	dir, err := os.MkdirTemp("", "publish")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	out, err := publish.CreateDir(filepath.Join(dir, "merged"), false)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer out.Abort()
	f, err := out.Create("config.json")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Fprint(f, "{}")
	f.Close()
	fmt.Println(out.Commit())
	entries, _ := os.ReadDir(dir)
	fmt.Println(entries)
	// Output:
	// <nil>
	// [d merged/]
}
