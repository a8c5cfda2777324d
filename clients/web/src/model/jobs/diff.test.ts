import { expect, test } from "vitest";
import { filesOf } from "./diff";

const DIFF = `diff --git a/runs/train.py b/runs/train.py
index 1..2 100644
--- a/runs/train.py
+++ b/runs/train.py
@@ -1,2 +1,3 @@
 import torch
-lr = 1
+lr = 2
+++counter
diff --git a/new.txt b/new.txt
new file mode 100644
--- /dev/null
+++ b/new.txt
@@ -0,0 +1 @@
+new
diff --git a/gone.py b/gone.py
deleted file mode 100644
--- a/gone.py
+++ /dev/null
@@ -1 +0,0 @@
---x
diff --git a/a b.png b/a b.png
new file mode 100644
index 0..1
GIT binary patch
literal 3
@@ not a hunk
+not a line
diff --git a/empty.txt b/empty.txt
new file mode 100644
diff --git "a/\\303\\274.txt" "b/\\303\\274.txt"
new file mode 100644
--- /dev/null
+++ "b/\\303\\274.txt"
@@ -0,0 +1 @@
+x
diff --git a/old.py b/moved.py
similarity index 100%
rename from old.py
rename to moved.py
`;

test("every file with what became of it and how many lines", () => {
  expect(filesOf(DIFF).map((f) => [f.path, f.kind, f.binary, f.added, f.removed])).toEqual([
    ["runs/train.py", "changed", false, 2, 1],
    ["new.txt", "new", false, 1, 0],
    ["gone.py", "deleted", false, 0, 1],
    ["a b.png", "new", true, 0, 0],
    ["empty.txt", "new", false, 0, 0],
    ["ü.txt", "new", false, 1, 0],
    ["moved.py", "renamed", false, 0, 0],
  ]);
});

test("lines are kept as they are, and none is made up", () => {
  expect(filesOf(DIFF)[0]?.lines).toEqual([
    "@@ -1,2 +1,3 @@",
    " import torch",
    "-lr = 1",
    "+lr = 2",
    "+++counter",
  ]);
  expect(filesOf("")).toEqual([]);
});
