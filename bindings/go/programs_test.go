package kv_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	kv "github.com/libkv/libkv/bindings/go"
)

func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	output, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", program, args, err, output)
	}
	return string(output)
}

func TestTheConformanceScriptHolds(t *testing.T) {
	runner := filepath.Join(t.TempDir(), "conformance")
	run(t, "go", "build", "-o", runner, "./internal/conformance")
	scripts, err := filepath.Glob("../../tests/conformance/*.kvt")
	ok(t, err)
	if len(scripts) < 5 {
		t.Fatalf("%d scripts", len(scripts))
	}
	for _, script := range scripts {
		t.Run(filepath.Base(script), func(t *testing.T) {
			t.Parallel()
			t.Log(run(t, runner, script, t.TempDir()))
		})
	}
	t.Run("exchange", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		run(t, runner, "../../tests/conformance/exchange/write.kvt", dir)
		run(t, runner, "../../tests/conformance/exchange/read.kvt", dir)
	})
}

// A runner that passes everything would prove nothing.
func TestTheConformanceRunnerTellsWhatDoesNotHold(t *testing.T) {
	script := filepath.Join(t.TempDir(), "wrong.kvt")
	ok(t, os.WriteFile(script, []byte("case c\nopen => ok\nset k v => ok\nprocess\nget k => w\n"), 0o600))
	output, err := exec.Command("go", "run", "./internal/conformance", script, t.TempDir()).CombinedOutput()
	if err == nil || !strings.Contains(string(output), script+":5: expected w, got v\n") {
		t.Fatalf("%v: %s", err, output)
	}
}

func TestTheProgramOfTheDocsPrintsWhatTheyShow(t *testing.T) {
	page, err := os.ReadFile("../../docs/go.md")
	ok(t, err)
	block := func(kind string) string {
		found := regexp.MustCompile("(?s)```" + kind + "\n(.*?)```").FindSubmatch(page)
		if found == nil {
			t.Fatalf("no block of %s", kind)
		}
		return string(found[1])
	}
	program := filepath.Join(t.TempDir(), "main.go")
	ok(t, os.WriteFile(program, []byte(block("go")), 0o600))
	built := filepath.Join(t.TempDir(), "program")
	run(t, "go", "build", "-o", built, program)
	command := exec.Command(built)
	command.Dir = t.TempDir()
	output, err := command.CombinedOutput()
	ok(t, err)
	same(t, string(output), block("output"))
}

func TestTheDocsProgramOfTheReadmePrintsTheName(t *testing.T) {
	page, err := os.ReadFile("../../README.md")
	ok(t, err)
	found := regexp.MustCompile("(?s)```go\n(.*?)```").FindSubmatch(page)
	if found == nil {
		t.Fatal("no program in Go")
	}
	program := filepath.Join(t.TempDir(), "main.go")
	ok(t, os.WriteFile(program, found[1], 0o600))
	built := filepath.Join(t.TempDir(), "program")
	run(t, "go", "build", "-o", built, program)
	command := exec.Command(built)
	command.Dir = t.TempDir()
	output, err := command.CombinedOutput()
	ok(t, err)
	same(t, string(output), "Alice <nil>\n")
}

func TestTheExamplesPrintWhatTheirTwinsInCPrint(t *testing.T) {
	names := []string{
		"cache", "durable_store", "pinned_reads", "batch", "ranges", "sessions", "refresh", "typed", "files",
		"watching",
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			expected, err := os.ReadFile("../c/examples/" + name + ".out")
			ok(t, err)
			args := []string{"run", "./examples/" + name}
			if name == "durable_store" || name == "files" {
				args = append(args, filepath.Join(t.TempDir(), "data"))
			}
			same(t, run(t, "go", args...), string(expected))
		})
	}
}

func TestEveryFunctionOfTheHeaderIsBound(t *testing.T) {
	symbols, err := os.ReadFile("../../include/symbols.txt")
	ok(t, err)
	var sources strings.Builder
	for _, pattern := range []string{"*.go", "kvgo.*"} {
		names, err := filepath.Glob(pattern)
		ok(t, err)
		for _, name := range names {
			if !strings.HasSuffix(name, "_test.go") {
				text, err := os.ReadFile(name)
				ok(t, err)
				sources.Write(text)
			}
		}
	}
	functions := strings.Fields(string(symbols))
	if len(functions) < 50 {
		t.Fatalf("%d functions", len(functions))
	}
	// The status is what the call has returned; the next make objects of an interpreter. Go's sessions know their key, lock a key
	// that was generated, and are rolled back by being freed. Reads that expect no codec are those that expect KV_CODEC_RAW.
	needless := []string{
		"kv_error_status", "kv_get_made", "kv_get_many_made",
		"kv_session_key", "kv_create_generated_and_lock", "kv_session_rollback",
		"kv_get", "kv_get_owned", "kv_get_many", "kv_get_with_metadata", "kv_take", "kv_increment",
	}
	for _, function := range functions {
		if !slices.Contains(needless, function) && !regexp.MustCompile(`\b`+function+`\(`).MatchString(sources.String()) {
			t.Errorf("%s is not bound", function)
		}
	}
}

func TestTheLibraryTellsItsVersion(t *testing.T) {
	var major, minor, patch uint32
	_, err := fmt.Sscanf(kv.Version(), "%d.%d.%d", &major, &minor, &patch)
	ok(t, err)
	same(t, kv.VersionNumber(), major<<16|minor<<8|patch)
}
