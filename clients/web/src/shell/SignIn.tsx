import { useState } from "react";
import { Button } from "@/components/Button";
import type { ApiError } from "@/api/request";
import { CodeBlock } from "@/components/Copy";
import { ErrorText } from "@/components/Feedback";

/** Sign-in page for a browser that is not signed in. */
export function SignIn({ reason }: { reason: ApiError }) {
  const [link, setLink] = useState("");
  const [wrong, setWrong] = useState(false);
  return (
    <main className="mx-auto flex min-h-dvh max-w-md flex-col justify-center px-4 py-10">
      <h1 className="mb-2 text-xl font-semibold">Sign in to Berth</h1>
      <p className="mb-4 text-sm text-muted">
        <ErrorText error={reason} fallback="" />
      </p>
      <p className="mb-2 text-sm">Run this on the box to get a link that signs in one browser:</p>
      <CodeBlock text="berth web" label="Command" />
      <form
        className="mt-5"
        onSubmit={(event) => {
          event.preventDefault();
          const code =
            /[?&]code=([^&\s]+)/.exec(link)?.[1] ??
            (/^[\w-]{10,}$/.test(link.trim()) ? link.trim() : undefined);
          if (code) location.assign(`/login?code=${code}`);
          else setWrong(true);
        }}
      >
        <label htmlFor="link" className="mb-1 block text-sm font-medium">
          Or paste the link or its code
        </label>
        <div className="flex gap-2">
          <input
            id="link"
            autoComplete="off"
            value={link}
            aria-invalid={wrong}
            aria-describedby={wrong ? "link-wrong" : undefined}
            onChange={(event) => {
              setLink(event.target.value);
              setWrong(false);
            }}
            className="field"
          />
          <Button kind="primary" type="submit">
            Sign in
          </Button>
        </div>
        {wrong && (
          <p id="link-wrong" role="alert" className="mt-1 text-sm text-bad">
            This is not a sign-in link. A link looks like http://…/login?code=…
          </p>
        )}
      </form>
    </main>
  );
}
