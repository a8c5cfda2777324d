import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api } from "@/api/endpoints";
import { useTokens } from "@/api/queries";
import type { NewToken } from "@/api/types";
import { Button } from "@/components/Button";
import { CodeBlock } from "@/components/Copy";
import { ConfirmDialog } from "@/components/Dialog";
import { ErrorMessage, Skeleton } from "@/components/Feedback";
import { Section } from "@/components/Layout";
import { Ago } from "@/components/Time";

/** Tokens for the CLI and the SDK on other machines. */
export function Tokens() {
  const tokens = useTokens();
  const client = useQueryClient();
  const [name, setName] = useState("");
  const [fresh, setFresh] = useState<NewToken | null>(null);
  const [revoking, setRevoking] = useState<{ id: number; name: string } | null>(null);
  const refresh = () => void client.invalidateQueries({ queryKey: ["tokens"] });
  const create = useMutation({
    mutationFn: () => api.createToken(name.trim(), null),
    onSuccess: (made) => {
      setFresh(made);
      setName("");
      refresh();
    },
  });
  const revoke = useMutation({
    mutationFn: (id: number) => api.deleteToken(id),
    onSuccess: () => {
      setRevoking(null);
      refresh();
    },
  });
  return (
    <Section
      title="Tokens"
      note="for the command line and scripts on other machines: BERTH_URL and BERTH_TOKEN"
    >
      <div className="panel px-4 py-3 text-sm">
        {tokens.isError && !tokens.data ? (
          <ErrorMessage error={tokens.error} retry={() => void tokens.refetch()} />
        ) : !tokens.data ? (
          <Skeleton rows={2} />
        ) : tokens.data.tokens.length === 0 ? (
          <p className="text-muted">No tokens yet.</p>
        ) : (
          <ul className="divide-y divide-line">
            {tokens.data.tokens.map((token) => (
              <li key={token.id} className="flex flex-wrap items-center gap-x-4 gap-y-1 py-1.5">
                <span className="font-medium">{token.name}</span>
                <span className="text-muted">{token.user}</span>
                <span className="text-xs text-muted">
                  created <Ago time={token.created_at} />, used <Ago time={token.last_used_at} none="never" />
                  {token.expires_at != null && (
                    <>
                      , expires <Ago time={token.expires_at} />
                    </>
                  )}
                </span>
                <Button
                  small
                  kind="danger"
                  className="ml-auto"
                  aria-label={`Revoke ${token.name}`}
                  onClick={() => setRevoking(token)}
                >
                  Revoke
                </Button>
              </li>
            ))}
          </ul>
        )}
        {fresh && (
          <div className="mt-3">
            <p className="mb-1 text-warn">Copy the secret now: it is shown only once.</p>
            <CodeBlock label={`Token ${fresh.token.name}`} text={fresh.secret} />
            <Button small className="mt-2" onClick={() => setFresh(null)}>
              Done
            </Button>
          </div>
        )}
        <form
          className="mt-3 flex max-w-md gap-2"
          onSubmit={(event) => {
            event.preventDefault();
            create.mutate();
          }}
        >
          <input
            aria-label="Name of a new token"
            placeholder="laptop"
            required
            maxLength={100}
            value={name}
            onChange={(event) => setName(event.target.value)}
            className="field"
          />
          <Button type="submit" disabled={create.isPending}>
            Create token
          </Button>
        </form>
        {create.isError && (
          <div className="mt-2">
            <ErrorMessage error={create.error} />
          </div>
        )}
      </div>
      {revoking && (
        <ConfirmDialog
          title={`Revoke ${revoking.name}?`}
          consequence="Programs that use this token lose access at once. This cannot be undone."
          action="Revoke"
          danger
          busy={revoke.isPending}
          error={revoke.isError && <ErrorMessage error={revoke.error} />}
          onConfirm={() => revoke.mutate(revoking.id)}
          onClose={() => setRevoking(null)}
        />
      )}
    </Section>
  );
}
