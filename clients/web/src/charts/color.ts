/** A CSS colour as a canvas understands it: variables and light-dark() resolved where `inside` stands. */
export function resolveColor(inside: HTMLElement, color: string): string {
  const probe = document.createElement("span");
  probe.style.color = color;
  inside.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}
