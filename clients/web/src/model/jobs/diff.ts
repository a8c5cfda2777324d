/** Parser of `git diff --binary` output, file by file. */

export interface FileDiff {
  /** Where it is now, or was when it is gone. */
  path: string;
  kind: "changed" | "new" | "deleted" | "renamed";
  binary: boolean;
  added: number;
  removed: number;
  /** From the first hunk on; empty for binary files. */
  lines: string[];
}

/** The files of a diff, in its order. */
export function filesOf(diff: string): FileDiff[] {
  const files: FileDiff[] = [];
  let inHunk = false;
  for (const line of diff.split("\n")) {
    if (line.startsWith("diff --git ")) {
      files.push({ path: pathOf(line), kind: "changed", binary: false, added: 0, removed: 0, lines: [] });
      inHunk = false;
      continue;
    }
    const file = files.at(-1);
    if (!file || file.binary) continue;
    if (line.startsWith("@@")) inHunk = true;
    if (inHunk) {
      file.lines.push(line);
      if (line.startsWith("+")) file.added += 1;
      else if (line.startsWith("-")) file.removed += 1;
    } else if (line.startsWith("new file")) file.kind = "new";
    else if (line.startsWith("deleted file")) file.kind = "deleted";
    else if (line.startsWith("rename to ")) {
      file.kind = "renamed";
      file.path = unquoted(line.slice("rename to ".length));
    } else if (line.startsWith("+++ ") && line !== "+++ /dev/null") file.path = sided(line.slice(4));
    else if (line.startsWith("--- ") && line !== "--- /dev/null") file.path = sided(line.slice(4));
    else if (line.startsWith("GIT binary patch") || line.startsWith("Binary files ")) file.binary = true;
  }
  for (const file of files) if (file.lines.at(-1) === "") file.lines.pop();
  return files;
}

/** `diff --git a/x b/x`: the only place of the name for empty and binary files. */
function pathOf(header: string): string {
  const names = header.slice("diff --git ".length);
  if (names.startsWith('"')) return sided(names.slice(0, names.indexOf('" ') + 1));
  return names.slice(2, (names.length - 1) / 2);
}

function sided(name: string): string {
  return unquoted(name.replace(/\t$/, "")).slice(2);
}

/** Git quotes names with odd characters, bytes beyond ASCII as octal. */
function unquoted(name: string): string {
  if (!name.startsWith('"') || !name.endsWith('"')) return name;
  const bytes: number[] = [];
  const plain: Record<string, string> = { n: "\n", t: "\t", r: "\r", '"': '"', "\\": "\\" };
  for (const [whole, octal, letter] of name.slice(1, -1).matchAll(/\\([0-7]{3})|\\(.)|[^\\]/gsu)) {
    if (octal !== undefined) bytes.push(parseInt(octal, 8));
    else bytes.push(...new TextEncoder().encode(letter === undefined ? whole : (plain[letter] ?? letter)));
  }
  return new TextDecoder().decode(new Uint8Array(bytes));
}
