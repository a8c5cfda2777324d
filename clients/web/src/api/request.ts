/** HTTP requests to the REST interface: JSON in, JSON out, problems as ApiError. */
import { seen } from "@/live/seen";
import type { FieldProblem, MessagePart, Problem } from "./types";

/** The server answered with a problem, or could not be reached (status 0). */
export class ApiError extends Error {
  override readonly name = "ApiError";

  constructor(
    readonly status: number,
    detail: string,
    readonly fields: readonly FieldProblem[] = [],
    readonly requestId: string | null = null,
    readonly parts: readonly MessagePart[] = [],
  ) {
    super(detail);
  }

  /** Problem of the field `name` or a part of it. */
  of(name: string): FieldProblem | undefined {
    return this.fields.find((f) => f.field.split(".")[0] === name);
  }

  /** Problems of fields but the first, which the message states. */
  get furtherFields(): readonly FieldProblem[] {
    return this.fields.slice(1);
  }
}

type Scalar = string | number | boolean | undefined;
export type Query = Record<string, Scalar | readonly string[]>;

export interface Options {
  query?: Query;
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal;
  /** Take the answer as text and not as JSON. */
  text?: boolean;
}

/** Ask `method /api/v1<path>` and return its JSON (undefined for 204), or its text. Throws ApiError. */
export async function request<T>(method: string, path: string, options: Options = {}): Promise<T> {
  const headers: Record<string, string> = { Accept: "application/json", ...options.headers };
  const init: RequestInit = { method, headers, credentials: "same-origin" };
  if (options.signal) init.signal = options.signal;
  if (options.body !== undefined) {
    headers["Content-Type"] = "application/json";
    init.body = JSON.stringify(options.body);
  }
  let answer: Response;
  try {
    answer = await fetch(`/api/v1${path}${queryString(options.query)}`, init);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, "The server does not answer. Run berth status on the box to see why.", [], null, [
      { kind: "text", text: "The server does not answer. Run " },
      { kind: "code", text: "berth status" },
      { kind: "text", text: " on the box to see why." },
    ]);
  }
  const event = answer.headers.get("Berth-Event-Id");
  if (event !== null) seen(Number(event));
  if (!answer.ok) throw await problemOf(answer);
  if (options.text === true) return (await answer.text()) as T;
  return answer.status === 204 ? (undefined as T) : ((await answer.json()) as T);
}

/** "?a=1&b=x&b=y", leaving out what is undefined; empty for no parameters. */
export function queryString(query: Query | undefined): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value === undefined || value === "") continue;
    for (const item of Array.isArray(value) ? value : [value]) parameters.append(name, String(item));
  }
  const text = parameters.toString();
  return text && `?${text}`;
}

async function problemOf(answer: Response): Promise<ApiError> {
  try {
    const problem = (await answer.json()) as Problem;
    return new ApiError(
      answer.status,
      problem.detail,
      problem.fields ?? [],
      problem.request_id ?? null,
      problem.detail_parts ?? [],
    );
  } catch {
    return new ApiError(
      answer.status,
      `The server answered with status ${answer.status} and no explanation.`,
    );
  }
}
