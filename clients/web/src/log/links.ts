/** Web addresses in the lines of a log. */
const ADDRESS = /https?:\/\/[^\s<>"'`]+[^\s<>"'`.,;:!?)\]}]/g;

/** A text in parts, its web addresses apart. */
export function linked(text: string): { text: string; link: boolean }[] {
  if (!text.includes("://")) return [{ text, link: false }];
  const parts: { text: string; link: boolean }[] = [];
  let at = 0;
  for (const match of text.matchAll(ADDRESS)) {
    if (match.index > at) parts.push({ text: text.slice(at, match.index), link: false });
    parts.push({ text: match[0], link: true });
    at = match.index + match[0].length;
  }
  if (at < text.length) parts.push({ text: text.slice(at), link: false });
  return parts;
}
